/**
 * The gateway in the foreground, until SIGINT or SIGTERM.
 *
 *     flags, environment, file ──► configuration ──► control plane ──► "listening on …"
 *     SIGHUP, file changed ──► new configuration, or the old one goes on and the fault is logged
 *     SIGINT, SIGTERM ──► drain, exit 0      a second one ──► exit 130 at once
 *
 * Without any node it shows itself in front of three simulated ones.
 */
import { readFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import type { Configuration } from '../config/effective.ts'
import type { ServeFlags } from '../config/flags.ts'
import { loadConfiguration } from '../config/load.ts'
import { ConfigurationWatch } from '../config/watch.ts'
import { packageRoot } from '../native/package_root.ts'
import { endProcess } from '../native/process.ts'
import { ControlPlane } from './control_plane.ts'
import type { PreparedThread } from './gateway_threads.ts'
import { greeting } from './greeting.ts'
import { ListenError } from './reserve_port.ts'
import type { SimulatedFleet } from './simulated_fleet.ts'
import { startSimulatedFleet } from './simulated_fleet.ts'

const CLI = path.join(packageRoot(), 'dist/cli.js')

/** Serves with what `flags` and the environment say; `first` is a thread that is starting. */
export async function serve(flags: ServeFlags, first: PreparedThread): Promise<number> {
  const configured = loadConfiguration(flags, process.env)
  const simulated = configured.nodes.length === 0 ? await startSimulatedFleet(CLI) : null
  const configuration = simulated === null ? configured : withSimulated(configured, simulated)
  // Where the process ends with threads that serve; behind what else is done at its end.
  process.once('exit', endProcess)
  process.on('uncaughtExceptionMonitor', tellLastWords)
  const failure = new FirstFailure()
  const plane = new ControlPlane(configuration, packageVersion(), error => failure.tell(error))
  greet(plane, first, configuration, simulated).catch((error: Error) => failure.tell(error))
  // The simulated nodes stay for as long as none is listed.
  const withNodes = (next: Configuration): Configuration =>
    simulated === null || next.nodes.length > 0 ? next : withSimulated(next, simulated)
  const watch = new ConfigurationWatch({
    current: configured,
    load: () => loadConfiguration(flags, process.env),
    apply: next => plane.reload(withNodes(next)),
    log: plane.log,
    onOutcome: outcome => plane.countReload(outcome),
  })
  const code = await Promise.race([signalled(), failure.code])
  watch.close()
  // A thread that failed leaves its share of the port unanswered: the process ends at once.
  if (code !== 0) process.exit(code)
  await plane.drain()
  await simulated?.stop()
  process.off('exit', endProcess)
  process.off('uncaughtExceptionMonitor', tellLastWords)
  return 0
}

/** Node tells what ended the process only behind its `exit`, from which `endProcess` never comes. */
function tellLastWords(error: Error): void {
  writeSync(process.stderr.fd, `warmpath: ${error.stack ?? error.message}\n`)
}

/** The first failure of a thread decides the exit code. */
class FirstFailure {
  readonly code: Promise<number>
  #resolve: (code: number) => void = () => {}

  constructor() {
    this.code = new Promise(resolve => {
      this.#resolve = resolve
    })
  }

  tell(error: Error): void {
    const text = error instanceof ListenError ? error.message : (error.stack ?? error.message)
    process.stderr.write(`warmpath: ${text}\n`)
    this.#resolve(1)
  }
}

/** Resolves with 0 at the first SIGINT or SIGTERM; the second one ends the process. */
function signalled(): Promise<number> {
  return new Promise(resolve => {
    let count = 0
    const onSignal = (): void => {
      if (++count > 1) process.exit(130)
      resolve(0)
    }
    process.on('SIGINT', onSignal)
    process.on('SIGTERM', onSignal)
  })
}

async function greet(
  plane: ControlPlane,
  first: PreparedThread,
  configuration: Configuration,
  simulated: SimulatedFleet | null,
): Promise<void> {
  const ports = await plane.start(first)
  const { listen, admin, models, api_keys: keys } = configuration
  const text = greeting({
    host: listen.host,
    port: ports.data,
    adminHost: admin.host,
    adminPort: ports.admin,
    model: simulated?.model ?? models[0]?.name ?? 'MODEL',
    isKeyNeeded: keys.length > 0,
    isSimulated: simulated !== null,
  })
  process.stdout.write(`${text}\n`)
}

function withSimulated(configuration: Configuration, simulated: SimulatedFleet): Configuration {
  const model = { name: simulated.model, tokenizer: 'toy' }
  return { ...configuration, nodes: [...simulated.nodes], models: [model] }
}

function packageVersion(): string {
  const file = path.join(packageRoot(), 'package.json')
  // Decode boundary: our own package.
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
