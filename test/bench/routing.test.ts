import { expect, test } from 'vitest'
import { readBenchOptions } from '../../bench/options.ts'
import { run } from '../../bench/routing.ts'

test('the routing bench places every request (BA-14 has its figures)', async () => {
  const result = await run(readBenchOptions(['--quick']))
  expect(Object.keys(Object(result['decisionNs']))).toContain('staggered_8')
})
