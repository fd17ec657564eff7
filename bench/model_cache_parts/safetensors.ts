/**
 * The reader that counts: Python's safetensors loads a model out of memory, by mapping and by plain
 * reads, through the mount and beside it. Every tensor must have the same digest on both.
 *
 *     map     safe_open, one tensor after the other        source, accelerated, source again (null)
 *     read    the whole file, then `load`                  the same three
 *
 * Digests are made outside of the time that is taken. Needs a Python that has the packages
 * safetensors and numpy: WARMPATH_TEST_PYTHON, else python3; .ci/run makes one.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import path from 'node:path'
import { median, pairedRatio, type Ratio, rounded, runRounds } from '../rounds.ts'
import { MEBIBYTE, Site } from './site.ts'

const SHARDS = 4
const TENSORS = 8
const FLOAT_BYTES = 4
/** Bytes of one write. */
const BLOCK_BYTES = 4 * MEBIBYTE

export const python = process.env['WARMPATH_TEST_PYTHON'] ?? 'python3'

/** Ways in which the packages load a file. */
export const WAYS = ['map', 'read'] as const
export type Way = (typeof WAYS)[number]

/** Prints the seconds that loading all shards took, and a digest of every tensor. */
const SCRIPT = `
import glob, hashlib, json, sys, time
import numpy
from safetensors import safe_open
from safetensors.numpy import load
way, folder = sys.argv[1:]
seconds, digests = 0.0, []
for name in sorted(glob.glob(folder + "/*.safetensors")):
    started = time.monotonic()
    if way == "map":
        with safe_open(name, framework="numpy") as shard:
            tensors = {key: shard.get_tensor(key) for key in shard.keys()}
    else:
        with open(name, "rb") as file:
            tensors = load(file.read())
    seconds += time.monotonic() - started
    for key in sorted(tensors):
        digest = hashlib.sha256(tensors[key].tobytes()).hexdigest()
        digests.append([name.split("/")[-1], key, digest])
print(json.dumps({"seconds": seconds, "digests": digests}))
`

/** Arguments of a Python that loads the shards of a folder. */
export function loadWords(way: Way, folder: string): string[] {
  return ['-c', SCRIPT, way, folder]
}

export interface Loaded {
  readonly seconds: number
  /** File, tensor and SHA-256 of its bytes. */
  readonly digests: readonly (readonly [string, string, string])[]
}

// Decode boundary: what SCRIPT prints.
export function loadedOf(text: string): Loaded {
  const loaded: Loaded = JSON.parse(text)
  return loaded
}

export function hasSafetensors(): boolean {
  try {
    execFileSync(python, ['-c', 'import safetensors, numpy'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/**
 * Shards of a model in the file format of safetensors: length of the header, header, and float
 * tensors of random bytes.
 */
export function writeShards(folder: string, shards: number, tensors: number, values: number): void {
  const bytes = values * FLOAT_BYTES
  const entries = Array.from({ length: tensors }, (_, at) => [
    `layer.${at}.weight`,
    { dtype: 'F32', shape: [values], data_offsets: [at * bytes, (at + 1) * bytes] },
  ])
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const block = randomBytes(BLOCK_BYTES)
  for (let shard = 1; shard <= shards; shard += 1) {
    const fd = openSync(path.join(folder, `model-0000${shard}-of-0000${shards}.safetensors`), 'w')
    writeSync(fd, Buffer.concat([length, header]))
    for (let left = tensors * bytes; left > 0; left -= BLOCK_BYTES) {
      block.writeUInt32LE(left)
      block.writeUInt32LE(shard, FLOAT_BYTES)
      writeSync(fd, left < BLOCK_BYTES ? block.subarray(0, left) : block)
    }
    closeSync(fd)
  }
}

export interface SafetensorsPlan {
  readonly rounds: number
  readonly modelMib: number
}

type Cell = number | string | Ratio

/** A text where this Python lacks the packages. */
export async function benchSafetensors(
  plan: SafetensorsPlan,
): Promise<Record<string, Cell> | string> {
  if (!hasSafetensors()) return `${python} has no safetensors and numpy`
  const { rounds, modelMib } = plan
  const site = new Site(Math.ceil(modelMib / SHARDS) * 2)
  try {
    const source = site.tmpfs('source', modelMib)
    const values = Math.floor((modelMib * MEBIBYTE) / SHARDS / TENSORS / FLOAT_BYTES)
    writeShards(source, SHARDS, TENSORS, values)
    const bytes = SHARDS * TENSORS * values * FLOAT_BYTES
    const { path: fast } = await site.mount(source, modelMib, '--preload', '/')
    const wanted = JSON.stringify(load('read', source).digests)
    load('map', fast)
    const out: Record<string, Cell> = { unit: 'GB/s', bytes, tensors: SHARDS * TENSORS }
    for (const way of WAYS) {
      const folders: Record<string, string> = { source, accelerated: fast, null: source }
      const results = await runRounds(Object.keys(folders), rounds, name => {
        // Memory of the reader's own copies.
        site.touch()
        const { seconds, digests } = load(way, folders[name] ?? source)
        if (JSON.stringify(digests) !== wanted) throw new Error(`${name} ${way}: wrong bytes`)
        return Promise.resolve(bytes / seconds / 1e9)
      })
      for (const [name, rates] of results) {
        out[`${way}_${name}`] = rounded(median(rates))
        if (name === 'source') continue
        out[`${way}_${name}_to_source`] = pairedRatio(rates, results.get('source') ?? [])
      }
    }
    return out
  } finally {
    await site.close()
  }
}

function load(way: Way, folder: string): Loaded {
  const words = loadWords(way, folder)
  return loadedOf(execFileSync(python, words, { encoding: 'utf8', maxBuffer: MEBIBYTE }))
}
