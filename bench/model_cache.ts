/**
 * The model cache beside what the machine itself can do. Every figure stands beside its native
 * baseline of the same interleaved run; `null` is the baseline measured twice, and what lies
 * within it is no difference.
 *
 *     npm run bench -- model-cache [--rounds 7] [--only resident|hydrate|loads|instances|
 *                                          safetensors]
 *                                  [--size-mib 2048]     the file of resident and hydrate
 *                                  [--model-mib 2720]    the model of the other parts
 *                                  [--source-gbps 0.95]  what the throttled source gives
 *
 * The source's memory, three stores and what is touched between must fit: five times the model
 * for loads, and for instances.
 */
import { benchHydrate } from './model_cache_parts/hydrate.ts'
import { benchInstances } from './model_cache_parts/instances.ts'
import { benchLoads } from './model_cache_parts/loads.ts'
import { benchResident } from './model_cache_parts/resident.ts'
import { benchSafetensors } from './model_cache_parts/safetensors.ts'
import { type BenchOptions, type BenchResult, numberOption, option } from './options.ts'

const ROUNDS = 7
const SIZE_MIB = 2048
const MODEL_MIB = 2720

/** Cold instances take half a minute a round. */
const INSTANCE_ROUNDS_MAX = 3

/** Of the article's machine with a model of 62 GB: 7.63 Gbit/s. */
const SOURCE_GBPS = 0.95

const PARTS = ['resident', 'hydrate', 'loads', 'instances', 'safetensors']

export async function run(options: BenchOptions): Promise<BenchResult> {
  const { isQuick, words } = options
  const rounds = options.rounds ?? (isQuick ? 1 : ROUNDS)
  const sizeMib = numberOption(words, 'size-mib') ?? (isQuick ? 16 : SIZE_MIB)
  const modelMib = numberOption(words, 'model-mib') ?? (isQuick ? 68 : MODEL_MIB)
  const bytesPerSecond = (numberOption(words, 'source-gbps') ?? SOURCE_GBPS) * 1e9
  const only = option(words, 'only')
  if (only !== null && !PARTS.includes(only)) {
    throw new TypeError(`--only must be one of ${PARTS.join(', ')}, not ${only}`)
  }
  const isWanted = (part: string): boolean => only === null || only === part
  const plan = { rounds, sizeMib, modelMib, bytesPerSecond, isQuick }
  const few = { ...plan, rounds: Math.min(rounds, INSTANCE_ROUNDS_MAX) }
  return {
    rounds,
    size_mib: sizeMib,
    model_mib: modelMib,
    ...(isWanted('resident') ? { resident: await benchResident(plan) } : {}),
    ...(isWanted('hydrate') ? { hydrate: await benchHydrate(plan) } : {}),
    ...(isWanted('loads') ? { loads: await benchLoads(plan) } : {}),
    ...(isWanted('instances') ? { instances: await benchInstances(few) } : {}),
    ...(isWanted('safetensors') ? { safetensors: await benchSafetensors(plan) } : {}),
  }
}
