import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { OperatingError } from '../../src/errors.ts'
import { EDITS } from '../../src/observe/metrics/labels.ts'
import { readBody } from '../../src/prompt/body.ts'
import { tenantSalt } from '../../src/prompt/cache_salt.ts'
import { type EditPolicy, editBody } from '../../src/prompt/edits.ts'

const OPEN: EditPolicy = { isTrusted: true, cacheSalt: null, sessionPrefix: null }
const STRICT: EditPolicy = { isTrusted: false, cacheSalt: 'salt', sessionPrefix: 'tenant-' }

const REMOVED = ['kv_transfer_params', 'ec_transfer_params', 'request_id', 'priority']

function edit(text: string, policy: EditPolicy = OPEN): { text: string; counts: object } {
  const body = readBody(Buffer.from(text))
  if (body instanceof OperatingError) throw body
  const counts = new Uint32Array(EDITS.length)
  const edited = editBody(body, policy, counts)
  const named = EDITS.map((name, at) => [name, counts[at]]).filter(pair => pair[1] !== 0)
  return { text: edited.toString(), counts: Object.fromEntries(named) }
}

describe('the edits of a request', () => {
  it('leave the very same buffer when nothing must change', () => {
    const bytes = Buffer.from(' {"seed":12345678901234567890,"t":1.0,"x":1,"x":2,"priority":3} ')
    const body = readBody(bytes)
    if (body instanceof OperatingError) throw body
    expect(editBody(body, OPEN, new Uint32Array(EDITS.length))).toBe(bytes)
  })

  it('remove every duplicate, however it is spelled', () => {
    const one = edit(
      '{"kv_transfer_params":{"a":1},"a":1,"kv_transfer\\u005fparams":2 , "b":2,"request_id":"x"}',
    )
    expect(one.text).toBe('{"a":1,"b":2}')
    expect(one.counts).toEqual({ kv_transfer_params: 2, request_id: 1 })
    expect(edit('{ "request_id":1 }').text).toBe('{  }')
    expect(edit('{"request_id":1,"ec_transfer_params":2,"kv_transfer_params":3}').text).toBe('{}')
  })

  it('strip what crashes an engine inside vllm_xargs, in each duplicate', () => {
    const { text, counts } = edit(
      '{"vllm_xargs":{"kv_cache_report_mode":"full"},' +
        '"vllm_xargs":{"a":1, "kv_transfer_params":{}, ' +
        '"kv_cache_report\\u005fmode":"full"},"vllm_xargs":null}',
    )
    expect(text).toBe('{"vllm_xargs":{},"vllm_xargs":{"a":1},"vllm_xargs":null}')
    expect(counts).toEqual({ kv_cache_report_mode: 2, kv_transfer_params: 1 })
    // A member of that name elsewhere means nothing to the node.
    expect(edit('{"kv_cache_report_mode":1}').text).toBe('{"kv_cache_report_mode":1}')
  })

  it('drop a vllm_xargs that has too many members to be judged', () => {
    const list = Array.from({ length: 600 }, (_, i) => `"k${i}":0`).join(',')
    expect(edit(`{"vllm_xargs":{${list},"kv_cache_report_mode":1}}`).text).toBe('{"vllm_xargs":{}}')
  })

  it('keep a priority for trusted keys only', () => {
    expect(edit('{"priority":-5,"a":1}').text).toBe('{"priority":-5,"a":1}')
    expect(edit('{"priority":-5,"a":1}', { ...OPEN, isTrusted: false })).toEqual({
      text: '{"a":1}',
      counts: { priority: 1 },
    })
  })

  it('set the salt of the tenant, in place of every one of the client', () => {
    expect(edit('{}', STRICT).text).toBe('{"cache_salt":"salt"}')
    expect(edit('{ "a":1 }', STRICT).text).toBe('{ "a":1,"cache_salt":"salt" }')
    expect(edit('{"a":1,"priority":1}', STRICT).text).toBe('{"a":1,"cache_salt":"salt"}')
    expect(edit('{"cache_salt":null,"cache_s\\u0061lt":"x","a":1}', STRICT)).toEqual({
      text: '{"cache_salt":"salt","cache_s\\u0061lt":"salt","a":1}',
      counts: { cache_salt: 2 },
    })
  })

  it('keep sessions of tenants apart', () => {
    const { text } = edit('{"session_id":"s-1","vllm_xargs":{"session_id":"s"}}', STRICT)
    expect(JSON.parse(text)).toEqual({
      session_id: 'tenant-s-1',
      vllm_xargs: { session_id: 'tenant-s' },
      cache_salt: 'salt',
    })
  })

  it('derive salts that differ by tenant and by client salt', () => {
    const secret = Buffer.from('secret')
    const pairs: [string, string | null][] = [
      ['a', null],
      ['b', null],
      ['a', 'x'],
      ['ax', null],
    ]
    const salts = pairs.map(([tenant, salt]) => tenantSalt(secret, tenant, salt))
    expect(new Set(salts).size).toBe(salts.length)
    for (const salt of salts) expect(salt).toMatch(/^[\w-]{43}$/)
    expect(tenantSalt(secret, 'a', 'x')).toBe(salts[2])
  })

  it('give the same object without what was removed, and no other byte changes', () => {
    const name = fc.constantFrom('a', 'session_id', 'seed', 'b c', ...REMOVED)
    const value = fc.constantFrom('1', '"x"', 'null', '{"priority": 1}', '12345678901234567890')
    const space = fc.constantFrom('', ' ', '\n  ')
    const member = fc.tuple(name, space, space, value, space)
    fc.assert(
      fc.property(fc.array(member, { maxLength: 7 }), space, (list, edge) => {
        const kept = list.filter(([key]) => !REMOVED.includes(key))
        const join = (members: typeof list): string =>
          members.map(([key, a, b, text, c]) => `${a}"${key}"${b}:${text}${c}`).join(',')
        const { text } = edit(`${edge}{${join(list)}}${edge}`, { ...OPEN, isTrusted: false })
        expect(JSON.parse(text)).toEqual(JSON.parse(`{${join(kept)}}`))
        // Only whitespace that stood beside a removed member may be gone.
        expect(text.replaceAll(/\s/g, '')).toBe(`{${join(kept)}}`.replaceAll(/\s/g, ''))
        if (kept.length === list.length) expect(text).toBe(`${edge}{${join(list)}}${edge}`)
      }),
      { numRuns: 1000, interruptAfterTimeLimit: 10_000 },
    )
  })
})
