import { expect, test } from 'vitest'
import { KEY_PARAMETERS, queryHoldsKey } from '../../src/access/query.ts'

test.each(['', 'beta=true', 'starting_after=3&limit=2', 'monkey=1', 'q=api_key', '%', '&&=&'])(
  'the query string "%s" holds no key',
  query => {
    expect(queryHoldsKey(query)).toBe(false)
  },
)

test.each(KEY_PARAMETERS)('%s in the query string is a key, however it is spelled', name => {
  const escaped = Buffer.from(name).toString('hex').replaceAll(/../g, '%$&')
  for (const spelled of [name, name.toUpperCase(), escaped, `+${name}`]) {
    expect(queryHoldsKey(`${spelled}=secret`)).toBe(true)
    expect(queryHoldsKey(`beta=true&${spelled}`)).toBe(true)
  }
})
