/**
 * `npm run test:vllm -- URL URL`: Warmpath in front of real vLLM engines, one printed line a fact.
 *
 * For each count of gateway threads a gateway of its own is started from dist/, given the nodes by
 * their URLs alone. Engines are used as they are: emptied often, killed and restarted where the
 * command line says how. The exit code is 1 when a fact does not hold.
 */
import { checkAborts } from './aborts.ts'
import { checkAdapters } from './adapters.ts'
import { EngineBench } from './bench_of_engines.ts'
import { checkDiscovery } from './discovery.ts'
import { checkEmbeddings } from './embeddings.ts'
import type { Engine } from './engine.ts'
import { checkEviction, checkExactness } from './exactness.ts'
import { checkFullQueue } from './full_queue.ts'
import { Gateway } from './gateway_process.ts'
import { checkKept } from './kept.ts'
import { checkKill } from './kill_restart.ts'
import { type Options, PARTS, type Part, readOptions } from './options.ts'
import { checkPlacement } from './placement.ts'
import { Prompts } from './prompts.ts'
import { Report } from './report.ts'
import { checkBytes } from './same_bytes.ts'
import { checkSdk } from './sdk.ts'
import { checkWebSocket } from './websocket.ts'
import { get, json } from './wire.ts'

/** Runs `use` with a gateway in front of some engines, and stops it. */
async function withBench(
  options: Options,
  threads: number,
  engines: readonly Engine[],
  prompts: Prompts,
  use: (bench: EngineBench) => Promise<void>,
  report: Report,
): Promise<void> {
  const { model, tokenizer, blockSize } = options
  const nodes = engines.map(({ url }) => url)
  const gateway = await Gateway.start({ nodes, threads, model, tokenizer })
  try {
    const bench = new EngineBench(gateway, engines, model, prompts, blockSize)
    if (engines[0] !== options.embedding) await bench.join()
    await use(bench)
  } finally {
    await report.fact('SIGTERM ends the gateway with 0', async () => {
      const code = await gateway.stop()
      if (code !== 0) throw new Error(`it ended with ${code}\n${gateway.otherLines().join('\n')}`)
      return ''
    })
  }
}

async function runPart(
  part: Part,
  threads: number,
  options: Options,
  report: Report,
  prompts: Prompts,
): Promise<void> {
  const { engines, limited, adapter, embedding } = options
  const [first] = engines
  if (first === undefined) return
  const { model, tokenizer } = options
  const use = (
    some: readonly Engine[],
    run: (bench: EngineBench) => Promise<void>,
  ): Promise<void> => withBench(options, threads, some, prompts, run, report)
  switch (part) {
    case 'discovery':
      return use(engines, bench => checkDiscovery(report, bench))
    case 'sdk':
      return use(engines, bench => checkSdk(report, bench))
    case 'kept':
      return use(engines, bench => checkKept(report, bench))
    case 'websocket':
      return use(engines, bench => checkWebSocket(report, bench))
    case 'bytes':
      return use(engines, bench => checkBytes(report, bench))
    case 'placement': {
      const nodes = engines.map(({ url }) => url)
      const policy = 'round-robin'
      const roundRobin = (): Promise<Gateway> =>
        Gateway.start({ nodes, threads, model, tokenizer, policy })
      return use(engines, bench => checkPlacement(report, bench, roundRobin))
    }
    case 'exactness':
      return use(engines, async bench => {
        await checkExactness(report, bench, options.requests)
        await checkEviction(report, bench)
      })
    case 'aborts':
      return use(engines, bench => checkAborts(report, bench))
    case 'kill':
      return use(engines, bench => checkKill(report, bench, options.restartCommand))
    case 'limited':
      if (limited === null) return report.note('no --limited: left out')
      return use([limited, first], bench => checkFullQueue(report, bench, limited))
    case 'adapter':
      if (adapter === null) return report.note('no --adapter: left out')
      return use([adapter.engine, first], bench => checkAdapters(report, bench, adapter.name))
    case 'embedding':
      if (embedding === null) return report.note('no --embedding: left out')
      return use([embedding], ({ gateway }) =>
        checkEmbeddings(report, gateway, embedding, model, prompts),
      )
  }
}

async function main(): Promise<number> {
  const startedMs = performance.now()
  const options = await readOptions(process.argv.slice(2))
  const { engines, model, tokenizer, blockSize, seed } = options
  const report = new Report()
  // Decode boundary: vLLM's own version.
  const { version } = json(await get(engines[0]?.url ?? '', '/version')) as { version: string }
  process.stdout.write(
    `vLLM ${version} at ${engines.map(({ id }) => id).join(' and ')}, model ${model}, blocks of ` +
      `${blockSize}, tokenizer ${tokenizer}, Node ${process.version}, seed ${seed}\n`,
  )
  for (const threads of options.threads) {
    const prompts = new Prompts(seed + threads)
    for (const part of PARTS.filter(one => options.parts.has(one))) {
      report.section(`${part}, ${threads} gateway ${threads === 1 ? 'thread' : 'threads'}`)
      // What a part throws outside of its facts is a failure of its own, and the next part runs.
      await runPart(part, threads, options, report, prompts).catch((error: unknown) =>
        report.fact(`the part ${part} runs`, () => Promise.reject(error)),
      )
    }
  }
  return report.end((performance.now() - startedMs) / 1000)
}

process.exit(await main())
