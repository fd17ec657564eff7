/**
 * SIGKILL of the daemon in the middle of a load or of a send: the next daemon goes on with the
 * chunks that are what their sidecar says, and no wrong byte is ever shown.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { statSync, utimesSync } from 'node:fs'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { CHUNK_BYTES } from '../../src/model-cache/digest.ts'
import { javascriptMover } from '../../src/model-cache/mover.ts'
import { useHalfLoading } from './half_loading.ts'
import { flipBit, freeze, isThere, storeFile } from './killing.ts'
import { bytesOf, cacheOf, freePorts, Site } from './members.ts'
import { fast, place, source } from './own_workplace.ts'
import { canMount } from './privileges.ts'
import { digestOf } from './sha256.ts'
import { until } from './workplace.ts'

const NAME = 'm/a'
const CHUNKS = 10
/** Chunks that are there when the daemon is killed. */
const LOADED = 6

const loading = useHalfLoading()

/** The last chunk is not a full one. */
const bytes = randomBytes(CHUNKS * CHUNK_BYTES - 4097)

/** A reader is inside an open, LOADED chunks are there, and no more come. */
function halfLoaded() {
  return loading.load(NAME, bytes, LOADED, flags =>
    place.start('mount', source, fast, '--capacity', '1GiB', ...flags),
  )
}

/** Kills a daemon; the next one is given chunks below the gate. The test gets at its store before. */
async function kill(
  pid: number,
  gate = CHUNKS,
  tamper: (pid: number) => void = () => {},
): Promise<void> {
  await freeze(pid)
  tamper(pid)
  loading.peer?.cut()
  process.kill(pid, 'SIGKILL')
  await until(() => !isThere(pid))
  if (loading.peer !== null) loading.peer.gate = gate
}

function givenSorted(): number[] {
  return loading.peer!.given.toSorted((a, b) => a - b)
}

const REST = Array.from({ length: CHUNKS - LOADED }, (_, at) => LOADED + at)

describe.runIf(canMount)('a daemon that is killed while it loads a file', () => {
  test('is followed by one that asks only for the chunks that are missing', async () => {
    const { reading, pid } = await halfLoaded()
    await kill(pid)
    expect(await reading).toBe(digestOf(bytes))
    expect(givenSorted()).toEqual(REST)
    const { restarts, caches } = await place.asked()
    expect(restarts).toBe(1)
    expect(caches[0]!.files[0]).toMatchObject({ path: NAME, state: 'resident' })
    expect(caches[0]!.used_bytes).toBe(Math.ceil(bytes.length / 4096) * 4096)
    const file = path.join(fast, NAME)
    expect((await place.run('cache', 'drop', file)).stdout).toContain('1')
    await until(async () => (await place.asked()).caches[0]!.used_bytes === 0)
  })

  test('twice goes on twice', async () => {
    const { reading, pid } = await halfLoaded()
    await kill(pid, LOADED + 2)
    await until(() => loading.peer!.given.length === 2)
    let second = 0
    await until(async () => {
      const { daemon_pid: now, caches } = await place.asked()
      second = now
      return caches[0]!.bytes_by_tier['peer'] === 2 * CHUNK_BYTES
    })
    expect(givenSorted()).toEqual(REST.slice(0, 2))
    await kill(second)
    expect(await reading).toBe(digestOf(bytes))
    expect(givenSorted()).toEqual(REST.slice(2))
  })

  test('loads a chunk again whose bytes were damaged meanwhile', async () => {
    const { reading, pid } = await halfLoaded()
    await kill(pid, CHUNKS, of => flipBit(storeFile(of, ''), 2 * CHUNK_BYTES + 12_345))
    expect(await reading).toBe(digestOf(bytes))
    expect(givenSorted()).toEqual([2, ...REST])
  })

  test('believes no sidecar: a false digest, and a claim of what was never there', async () => {
    const { reading, pid } = await halfLoaded()
    await kill(pid, CHUNKS, of => {
      const note = storeFile(of, '.meta')
      flipBit(note, 16 + 3 * 16)
      flipBit(note, 16 + 8 * 16)
    })
    expect(await reading).toBe(digestOf(bytes))
    expect(givenSorted()).toEqual([3, ...REST])
  })

  test('begins anew when the sidecar is cut off or of something else', async () => {
    const { reading, pid } = await halfLoaded()
    await kill(pid, CHUNKS, of => flipBit(storeFile(of, '.meta'), 3))
    expect(await reading).toBe(digestOf(bytes))
    expect(givenSorted()).toEqual([0, 1, 2, 3, 4, 5, ...REST])
  })

  test('forgets what it had of a file that changed meanwhile', async () => {
    const { reading, pid } = await halfLoaded()
    const other = randomBytes(bytes.length)
    await kill(pid, CHUNKS, () => {
      place.write(NAME, other)
      // Within one second the peer could not tell the two apart by size and time.
      const file = path.join(source, NAME)
      utimesSync(file, statSync(file).atime, new Date(statSync(file).mtimeMs + 10_000))
    })
    expect(await reading).toBe(digestOf(other))
    expect(loading.peer!.given).toEqual([])
    const { files, used_bytes: used } = (await place.asked()).caches[0]!
    expect(files[0]).toMatchObject({ state: 'resident' })
    expect(used).toBe(Math.ceil(other.length / 4096) * 4096)
  })
})

/** Clears the immutable flag of a sealed file, as only root can, and flips a bit of it. */
function damageSealed(file: string): void {
  const script =
    'import fcntl,os,struct,sys\n' +
    'f=os.open(sys.argv[1],os.O_RDONLY); fcntl.ioctl(f,0x40086602,struct.pack("l",0))\n' +
    'os.fchmod(f,0o600)'
  execFileSync('python3', ['-c', script, file])
  flipBit(file, 5 * CHUNK_BYTES + 1)
  execFileSync('chmod', ['0444', file])
}

describe.runIf(canMount)('a whole file that is damaged while no daemon lives', () => {
  test('is loaded again, and never shown', async () => {
    place.write(NAME, bytes)
    const words = ['--capacity', '1GiB', '--preload', '/']
    const { errors } = await place.start('mount', source, fast, ...words)
    expect(await loading.digest(NAME)).toBe(digestOf(bytes))
    const { daemon_pid: pid } = await place.asked()
    await kill(pid, 0, of => damageSealed(storeFile(of, '')))
    expect(await loading.digest(NAME)).toBe(digestOf(bytes))
    expect(errors()).toContain('bytes in the store are damaged')
    const { bytes_by_tier: tiers } = (await place.asked()).caches[0]!
    expect(tiers['source']).toBe(bytes.length)
  })
})

describe.runIf(canMount)('a daemon that is killed while it sends a file', () => {
  const site = new Site(false)
  afterAll(() => site.close())

  test('is left for the source by who asked it, and asked again when it is back', async () => {
    const [big, small] = [randomBytes(16 * CHUNK_BYTES), randomBytes(2 * CHUNK_BYTES)]
    site.write('m/big', big)
    site.write('n/small', small)
    const [port = 0] = await freePorts(1)
    const words = ['--capacity', '1GiB', '--preload', '/', '--listen', `127.0.0.1:${port}`]
    await place.start('mount', site.root, fast, ...words)
    await until(async () => (await place.asked()).caches[0]!.ready)
    const { daemon_pid: pid } = await place.asked()
    const mover = javascriptMover()
    let writes = 0
    // The third chunk is here, more are on the way: then the sender dies.
    const write: typeof mover.write = async (...given) => {
      writes += 1
      if (writes === 3) await kill(pid)
      return mover.write(...given)
    }
    const asker = site.make({ mover: { ...mover, write }, peers: [`127.0.0.1:${port}`] }, site.root)
    await asker.start()
    const { tierBytes } = asker.metrics
    const cache = cacheOf(asker)
    await cache.want(cache.slot('m/big')!, 'open')
    expect(bytesOf(asker, 'm/big')?.equals(big)).toBe(true)
    const fromPeer = tierBytes.get('peer') ?? 0
    const fromSource = tierBytes.get('source') ?? 0
    expect(fromPeer).toBeGreaterThanOrEqual(3 * CHUNK_BYTES)
    expect(fromSource).toBeGreaterThan(0)
    expect(fromPeer + fromSource).toBe(big.length)
    const { fileId, generation } = cache.slot('n/small')!.file
    await until(async () => {
      await asker.peers.greet()
      const peers = asker.peers.all().filter(({ state }) => state === 'live')
      return peers.some(live => live.hasWhole(fileId, generation))
    })
    await cache.want(cache.slot('n/small')!, 'open')
    expect(bytesOf(asker, 'n/small')?.equals(small)).toBe(true)
    expect(tierBytes.get('peer')).toBe(fromPeer + small.length)
    expect(tierBytes.get('source')).toBe(fromSource)
  })
})
