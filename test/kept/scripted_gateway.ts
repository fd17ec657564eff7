/**
 * A scripted node with a gateway in front of it, for the tests of the block in which it is set:
 * made before them and taken down after them, when the gateway must exit with 0.
 */
import { afterAll, beforeAll, expect } from 'vitest'
import { type Gateway, healthy, startGateway } from '../gateway/gateway.ts'
import { ScriptedNode } from './scripted_node.ts'

interface ScriptedGateway {
  readonly node: ScriptedNode
  /** From the first test of the block on. */
  readonly gateway: Gateway
}

export function useScriptedGateway(threads: number, seed: number): ScriptedGateway {
  const node = new ScriptedNode(seed)
  let running: Gateway | null = null

  beforeAll(async () => {
    await node.stand.listen()
    running = await startGateway([node.stand.url], ['--threads', String(threads)])
    await healthy(running, 1)
  })

  afterAll(async () => {
    expect(await running?.stop()).toBe(0)
    await node.stand.kill()
  })

  return {
    node,
    get gateway() {
      if (running === null) throw new Error('the gateway was not started')
      return running
    },
  }
}
