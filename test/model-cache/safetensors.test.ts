/**
 * The reader that counts: Python's safetensors loads shards through the mount, by mapping and by
 * plain reads, and gets the bytes that it gets from the source. Needs a Python that has the
 * packages safetensors and numpy: WARMPATH_TEST_PYTHON, else python3; .ci/run makes one.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { expect, test } from 'vitest'
import { fast, place, source, useWorkplace } from './own_workplace.ts'
import { canMount } from './privileges.ts'
import { program } from './workplace.ts'

const python = process.env['WARMPATH_TEST_PYTHON'] ?? 'python3'

const hasSafetensors = ((): boolean => {
  try {
    execFileSync(python, ['-c', 'import safetensors, numpy'], { stdio: 'ignore' })
    return true
  } catch {
    process.stderr.write(`\n*** NOT TESTED HERE: ${python} has no safetensors and numpy ***\n\n`)
    return false
  }
})()

/** Prints a digest of every tensor of every shard, loaded in one of two ways. */
const SCRIPT = `
import glob, hashlib, sys
import numpy
from safetensors import safe_open
from safetensors.numpy import load
way, folder = sys.argv[1:]
for name in sorted(glob.glob(folder + "/*.safetensors")):
    if way == "map":
        with safe_open(name, framework="numpy") as shard:
            tensors = {key: shard.get_tensor(key) for key in shard.keys()}
    else:
        tensors = load(open(name, "rb").read())
    for key in sorted(tensors):
        print(name.split("/")[-1], key, hashlib.sha256(tensors[key].tobytes()).hexdigest())
`

/** A safetensors file: length of the header, header, and float tensors of random bytes. */
function shard(tensors: number, values: number): Buffer {
  const bytes = values * 4
  const entries = Array.from({ length: tensors }, (_, at) => [
    `layer.${at}.weight`,
    { dtype: 'F32', shape: [values], data_offsets: [at * bytes, (at + 1) * bytes] },
  ])
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([length, header, randomBytes(tensors * bytes)])
}

function load(way: string, root: string): Promise<string> {
  return program(python, '-c', SCRIPT, way, path.join(root, 'model'))
}

useWorkplace()

test.runIf(canMount && hasSafetensors)(
  'shards load through the mount by mapping and by reads, byte for byte',
  async () => {
    for (let at = 1; at <= 4; at += 1) {
      place.write(`model/model-0000${at}-of-00004.safetensors`, shard(6, 300_000))
    }
    place.write('model/config.json', '{}')
    await place.start('mount', source, fast, '--capacity', '1GiB')
    const wanted = await load('read', source)
    expect(wanted.split('\n')).toHaveLength(25)
    const [mapped, read] = await Promise.all([load('map', fast), load('read', fast)])
    expect([mapped, read]).toEqual([wanted, wanted])
    expect(await load('map', fast)).toBe(wanted)
  },
)
