import * as undici from 'undici'
import { expect, test } from 'vitest'
import { Agent, Pool, request } from '../../src/nodes/undici.ts'

test('the parts that are loaded by themselves are those of the package', () => {
  expect(Pool).toBe(undici.Pool)
  expect(Agent).toBe(undici.Agent)
})

test('a request goes to the origin and path of its URL', async () => {
  const asked: unknown[] = []
  class Deaf extends undici.Dispatcher {
    override dispatch(options: undici.Dispatcher.DispatchOptions): boolean {
      asked.push([options.origin, options.path, options.method])
      throw new Error('heard')
    }
  }
  const url = 'http://127.0.0.1:1/v1/models?a=1'
  await expect(request(new Deaf(), url, { method: 'GET' })).rejects.toThrow('heard')
  expect(asked).toEqual([['http://127.0.0.1:1', '/v1/models?a=1', 'GET']])
})
