/**
 * A simulated node with a gateway in front of it, for the tests of one block: made before them,
 * and taken down after them, which is a test by itself (exit code 0, no write outside a cork).
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { type SimNode, startSimNode } from '../../src/sim/sim_node.ts'
import { type Gateway, healthy, startGateway } from './gateway.ts'

export interface StageOptions {
  readonly threads: number
  /** Of the node: 0 answers at once. */
  readonly timeFactor: number
  readonly apiKeys?: readonly string[]
  /** Text of the configuration file. */
  readonly config?: string
  /** A stage of its own for each test. */
  readonly isFresh?: boolean
}

export class Stage {
  #node: SimNode | null = null
  #gateway: Gateway | null = null
  #folder = ''

  get node(): SimNode {
    if (this.#node === null) throw new Error('the stage is not set')
    return this.#node
  }

  get gateway(): Gateway {
    if (this.#gateway === null) throw new Error('the stage is not set')
    return this.#gateway
  }

  /** Requests that made the node work, oldest first. */
  get posts(): SimNode['requests'] {
    return this.node.requests.filter(one => one.method === 'POST')
  }

  async open({ threads, timeFactor, apiKeys = [], config = '' }: StageOptions): Promise<void> {
    this.#folder = await mkdtemp(path.join(tmpdir(), 'warmpath-stage-'))
    const file = path.join(this.#folder, 'warmpath.yaml')
    await writeFile(file, config)
    this.#node = await startSimNode({ timeFactor })
    const keys = apiKeys.flatMap(key => ['--api-key', key])
    const configured = config === '' ? [] : ['--config', file]
    const args = ['--threads', String(threads), ...configured, ...keys]
    this.#gateway = await startGateway([this.#node.url], args)
    await healthy(this.#gateway, 1)
  }

  async close(): Promise<void> {
    const { gateway, node } = this
    expect(await gateway.stop()).toBe(0)
    expect(gateway.lines.filter(line => line.includes('corked callback'))).toEqual([])
    await node.close()
    await rm(this.#folder, { recursive: true })
  }
}

/** Sets the stage for the tests of the block in which it is called. */
export function useStage(options: StageOptions): Stage {
  const stage = new Stage()
  if (options.isFresh === true) {
    beforeEach(() => stage.open(options))
    afterEach(() => stage.close())
  } else {
    beforeAll(() => stage.open(options))
    afterAll(() => stage.close())
  }
  return stage
}
