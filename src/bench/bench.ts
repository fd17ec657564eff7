/**
 * `warmpath bench`: the runs one after the other, then the table and the JSON line.
 *
 * Status 0: at least one request succeeded. 1: none did, or the endpoint could not be asked for
 * its models. 2: the arguments are wrong.
 */
import { Endpoint, errorKind } from './endpoint.ts'
import { type Figures, readFigures } from './figures.ts'
import { Load } from './load_run.ts'
import { readSettings, type Settings, USAGE, UsageError } from './options.ts'
import { ProgressLine, type Terminal } from './progress.ts'
import { Prompts } from './prompts.ts'
import { figureTable } from './table.ts'

export interface BenchEnvironment {
  /** Progress and faults go here, figures to `print`. */
  readonly terminal: Terminal
  print(text: string): void
  /** Calls back when the user asks to stop; returns how to take that back. */
  onInterrupt(stop: () => void): () => void
}

/** The model to ask for, or why the endpoint did not name one. */
async function findModel(settings: Settings): Promise<{ model: string } | { fault: string }> {
  if (settings.model !== null) return { model: settings.model }
  const endpoint = new Endpoint(settings, 1)
  try {
    return { model: await endpoint.firstModel() }
  } catch (error) {
    if (!(error instanceof Error)) throw error
    return { fault: `cannot ask for the models (${errorKind(error)}): ${error.message}` }
  } finally {
    await endpoint.close()
  }
}

async function runAll(
  settings: Settings,
  model: string,
  environment: BenchEnvironment,
): Promise<Figures[]> {
  const prompts = new Prompts(settings.promptTokens, settings.sharedTokens, settings.seed)
  const load = new Load(settings, model, prompts)
  const line = new ProgressLine(environment.terminal, settings)
  const figures: Figures[] = []
  const forget = environment.onInterrupt(() => load.stop())
  for (const concurrency of settings.concurrency) {
    if (load.isStopped) break
    const endpoint = new Endpoint(settings, concurrency)
    line.begin(concurrency)
    const run = await load.run(endpoint, concurrency, progress => line.show(progress))
    line.end()
    await endpoint.close()
    figures.push(readFigures(run))
  }
  forget()
  return figures
}

/** What was asked, without the key. */
function described(settings: Settings, model: string): Record<string, unknown> {
  return {
    url: settings.base,
    model,
    stream: settings.isStream,
    route: settings.isChat ? 'chat/completions' : 'completions',
    prompt_tokens: settings.promptTokens,
    shared_prefix: settings.sharedTokens,
    max_tokens: settings.tokensMax,
    seed: settings.seed,
  }
}

function faultText(figures: readonly Figures[]): string {
  const kinds = new Map<string, number>()
  for (const { errors } of figures) {
    for (const [kind, count] of Object.entries(errors)) {
      kinds.set(kind, (kinds.get(kind) ?? 0) + count)
    }
  }
  const first = figures.find(({ first_error: text }) => text !== null)?.first_error ?? ''
  const counts = [...kinds].map(([kind, count]) => `${count} × ${kind}`).join(', ')
  return first === '' ? counts : `${counts}\nfirst failure: ${first.trim()}`
}

export async function runBench(
  argv: readonly string[],
  environment: BenchEnvironment,
): Promise<number> {
  let settings: Settings | null
  try {
    settings = readSettings(argv)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    environment.terminal.write(`${error.message}\n\n${USAGE}`)
    return 2
  }
  if (settings === null) {
    environment.print(USAGE)
    return 0
  }
  const found = await findModel(settings)
  if ('fault' in found) {
    environment.terminal.write(`${found.fault}\n`)
    return 1
  }
  const figures = await runAll(settings, found.model, environment)
  const faults = faultText(figures)
  if (faults !== '') environment.terminal.write(`failed: ${faults}\n`)
  environment.print(`${figureTable(figures)}\n`)
  environment.print(`${JSON.stringify({ ...described(settings, found.model), runs: figures })}\n`)
  return figures.some(({ succeeded }) => succeeded > 0) ? 0 : 1
}
