/** Every way of reading gives the bytes of the source. */
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { fast, inFast, place, source, useWorkplace } from './own_workplace.ts'
import { canMount } from './privileges.ts'
import { digest } from './sha256.ts'
import { program } from './workplace.ts'

const MIB = 2 ** 20
const READERS = 8

useWorkplace()

/** Digest of a file, read in the way that the first argument names. */
const SCRIPT = `
import hashlib, mmap, os, sys, tempfile
way, name = sys.argv[1:]
direct = os.O_DIRECT if way == "direct" else 0
fd = os.open(name, os.O_RDONLY | direct)
size = os.fstat(fd).st_size
if way == "shared" or way == "private":
    kind = mmap.MAP_SHARED if way == "shared" else mmap.MAP_PRIVATE
    data = mmap.mmap(fd, size, flags=kind, prot=mmap.PROT_READ)
elif way == "direct":
    data = bytearray()
    buffer = mmap.mmap(-1, 1 << 20)
    while True:
        got = os.readv(fd, [buffer])
        if got == 0: break
        data += buffer[:got]
elif way == "sendfile":
    out, path = tempfile.mkstemp()
    sent = 0
    while sent < size: sent += os.sendfile(out, fd, sent, size - sent)
    data = open(path, "rb").read()
    os.unlink(path)
elif way == "readv":
    parts = [bytearray(4097), bytearray(size)]
    got = os.preadv(fd, parts, 0)
    data = (parts[0] + parts[1])[:got]
print(hashlib.sha256(data).hexdigest())
`

/** The same by Node's file calls on an io_uring; says "no ring" where none was made. */
const RING_SCRIPT = `
const fs = require('node:fs'), { createHash } = require('node:crypto')
const name = process.argv[1]
fs.promises.readFile(name).then(bytes => {
  const links = fs.readdirSync('/proc/self/fd').map(fd => {
    try { return fs.readlinkSync('/proc/self/fd/' + fd) } catch { return '' }
  })
  const isRing = links.some(link => link.includes('io_uring'))
  console.log(isRing ? createHash('sha256').update(bytes).digest('hex') : 'no ring')
})
`

function readBy(way: string, file: string): Promise<string> {
  return way === 'io_uring'
    ? program('env', 'UV_USE_IO_URING=1', process.execPath, '-e', RING_SCRIPT, file)
    : program('python3', '-c', SCRIPT, way, file)
}

describe.runIf(canMount).each(['passthrough', 'copy'])('in %s mode', mode => {
  const mount = (...flags: string[]) =>
    place.start('mount', source, fast, '--capacity', '1GiB', '--mode', mode, ...flags)

  test('eight readers of a cold file, and every way to read it', async () => {
    place.write('m/a.safetensors', randomBytes(9 * MIB + 4097))
    await mount()
    const file = inFast('m/a.safetensors')
    const wanted = await digest(path.join(source, 'm/a.safetensors'))
    const eight = await Promise.all(Array.from({ length: READERS }, () => digest(file)))
    expect(new Set(eight)).toEqual(new Set([wanted]))
    const ways = ['shared', 'private', 'sendfile', 'direct', 'readv', 'io_uring']
    for (const way of ways) {
      const found = (await readBy(way, file)).trim()
      if (found === 'no ring') process.stderr.write('\n*** NOT TESTED HERE: io_uring ***\n\n')
      else expect([way, found]).toEqual([way, wanted])
    }
  })
})
