/**
 * The model cache beside what the machine itself can do. Every figure stands beside its native
 * baseline of the same interleaved run; `null` is the baseline measured twice, and what lies
 * within it is no difference.
 *
 *     npm run bench -- model-cache [--rounds 7] [--size-mib 2048] [--only resident|hydrate]
 */
import { benchHydrate } from './model_cache_parts/hydrate.ts'
import { benchResident } from './model_cache_parts/resident.ts'
import { type BenchOptions, type BenchResult, numberOption, option } from './options.ts'

const ROUNDS = 7
const SIZE_MIB = 2048

export async function run(options: BenchOptions): Promise<BenchResult> {
  const { isQuick } = options
  const rounds = options.rounds ?? (isQuick ? 1 : ROUNDS)
  const sizeMib = numberOption(options.words, 'size-mib') ?? (isQuick ? 16 : SIZE_MIB)
  const only = option(options.words, 'only')
  const plan = { rounds, sizeMib, isQuick }
  return {
    rounds,
    size_mib: sizeMib,
    ...(only === 'hydrate' ? {} : { resident: await benchResident(plan) }),
    ...(only === 'resident' ? {} : { hydrate: await benchHydrate(plan) }),
  }
}
