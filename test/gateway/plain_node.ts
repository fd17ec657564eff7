/**
 * A gateway of one thread in front of a plain HTTP server, for the tests of a file that speak raw
 * bytes: started before them and taken down after them, when the gateway must exit with 0.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect } from 'vitest'
import type { Gateway } from './gateway.ts'
import { healthy, startGateway } from './gateway.ts'

const MODELS = Buffer.from('{"object":"list","data":[{"id":"m","object":"model"}]}')
const EMPTY = Buffer.from('{}')

/** Answers as a node does that is healthy, holds the model `m` and says nothing to any request. */
export function answerPlainly(request: IncomingMessage, response: ServerResponse): void {
  const isModels = request.url === '/v1/models'
  const isKnown = isModels || request.url === '/health' || request.method === 'POST'
  response.setHeader('content-type', 'application/json')
  response.statusCode = isKnown ? 200 : 404
  // A Buffer: with a text node:http would write the head as UTF-8.
  response.end(isModels ? MODELS : EMPTY)
}

interface PlainGateway {
  /** Of the data listener; from the first test of the file on. */
  readonly port: number
  /** Its log lines of exchanges. */
  exchanges(): Record<string, unknown>[]
}

export function useGatewayBefore(node: Server): PlainGateway {
  let running: Gateway | null = null

  beforeAll(async () => {
    await new Promise<void>(resolve => node.listen(0, '127.0.0.1', resolve))
    const { port } = node.address() as AddressInfo
    running = await startGateway([`http://127.0.0.1:${port}`], ['--threads', '1'])
    await healthy(running, 1)
  })

  afterAll(async () => {
    expect(await running?.stop()).toBe(0)
    node.close()
    // What uWebSockets.js prints of a write at the wrong moment.
    expect(running?.lines.filter(line => line.includes('corked callback'))).toEqual([])
  })

  return {
    exchanges: () => running?.exchanges() ?? [],
    get port() {
      if (running === null) throw new Error('the gateway was not started')
      return Number(new URL(running.url).port)
    },
  }
}
