/**
 * The simulated nodes that `warmpath serve` puts behind itself when no node is configured: a child
 * process, so that they neither share the gateway's event loops nor its memory figures.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { NodeEntry } from '../nodes/config.ts'
import { nodeEntrySchema } from '../nodes/config.ts'

/** Nodes that a gateway without configuration is shown with. */
const SIMULATED_NODES = 3

export interface SimulatedFleet {
  readonly nodes: readonly NodeEntry[]
  readonly model: string
  stop(): Promise<void>
}

/** The model the simulated nodes serve, and its tokenizer. */
export const SIMULATED_MODEL = 'sim'

/** Starts the nodes and resolves when all answer; rejects with what they wrote when they end. */
export async function startSimulatedFleet(cli: string): Promise<SimulatedFleet> {
  const args = [cli, 'sim', '--nodes', String(SIMULATED_NODES), '--model', SIMULATED_MODEL]
  // A group of its own: Ctrl-C in the terminal is for the gateway, which drains first.
  const child = spawn(process.execPath, args, {
    // The channel carries nothing: its end tells the nodes that nobody needs them any more.
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    detached: true,
  })
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()))
  const stopNow = (): void => void child.kill('SIGKILL')
  process.once('exit', stopNow)
  const nodes: NodeEntry[] = []
  assert(child.stdout !== null)
  for await (const line of createInterface({ input: child.stdout })) {
    // Decode boundary: our own child's lines.
    const said = JSON.parse(line) as { url?: string }
    if (said.url !== undefined) nodes.push(nodeEntrySchema.parse({ url: said.url }))
    if (nodes.length === SIMULATED_NODES) break
  }
  if (nodes.length < SIMULATED_NODES) throw new Error('the simulated nodes did not start')
  return {
    nodes,
    model: SIMULATED_MODEL,
    async stop() {
      process.off('exit', stopNow)
      child.kill('SIGTERM')
      await ended
    },
  }
}
