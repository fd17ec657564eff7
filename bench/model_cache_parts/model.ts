/**
 * A model in the shape of Qwen3-32B, scaled: 17 shards of the same size, with the names that
 * loaders know, and the small files beside them.
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { MEBIBYTE, writeBlocks } from './site.ts'

const SHARDS = 17

/** Shards are whole numbers of chunks. */
const CHUNK_MIB = 4

export interface Model {
  readonly folder: string
  readonly bytes: number
  readonly shardMib: number
  /** One of the shards. */
  readonly shard: string
}

function numbered(value: number): string {
  return String(value).padStart(5, '0')
}

function shardName(index: number): string {
  return `model-${numbered(index)}-of-${numbered(SHARDS)}.safetensors`
}

/** Memory that a model of about so much takes. */
export function modelMib(wantedMib: number): number {
  return SHARDS * shardMib(wantedMib)
}

function shardMib(wantedMib: number): number {
  return Math.max(1, Math.round(wantedMib / SHARDS / CHUNK_MIB)) * CHUNK_MIB
}

export function writeModel(folder: string, wantedMib: number): Model {
  const size = shardMib(wantedMib)
  const map: Record<string, string> = {}
  for (let index = 1; index <= SHARDS; index += 1) {
    const name = shardName(index)
    writeBlocks(path.join(folder, name), size, index)
    map[`model.layers.${index}.weight`] = name
  }
  const texts = {
    'config.json': JSON.stringify({ architectures: ['Qwen3ForCausalLM'] }),
    'model.safetensors.index.json': JSON.stringify({ weight_map: map }),
  }
  for (const [name, text] of Object.entries(texts)) writeFileSync(path.join(folder, name), text)
  const small = Object.values(texts).reduce((sum, text) => sum + text.length, 0)
  const bytes = SHARDS * size * MEBIBYTE + small
  return { folder, bytes, shardMib: size, shard: shardName(1) }
}
