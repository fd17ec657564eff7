import { describe, expect, it } from 'vitest'
import { OperatingError } from '../../src/errors.ts'
import { keyId } from '../../src/native/json_scan.ts'
import { RequestBody, readBody } from '../../src/prompt/body.ts'

function read(text: string): RequestBody {
  const body = readBody(Buffer.from(text))
  if (body instanceof OperatingError) throw body
  return body
}

function refusal(text: string | Uint8Array): OperatingError {
  const body = readBody(Buffer.from(text))
  if (body instanceof RequestBody) throw new Error('accepted')
  return body
}

describe('a request body', () => {
  it('is read field by field from its own bytes', () => {
    const body = read(
      '{"model":"m\\u00e9\\"","stream":true,"n":2,"max_tokens":7,"cache_salt":"ü",' +
        '"temperature":0.5,' +
        '"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}',
    )
    expect(body.model).toBe('mé"')
    expect(body.isStream).toBe(true)
    expect(body.n).toBe(2)
    expect(body.tokensMax).toBe(7)
    expect(body.cacheSalt).toBe('ü')
    expect(body.includesUsage).toBe(true)
    expect(body.text(keyId('temperature'))).toBe('0.5')
    expect(body.value(keyId('messages'))).toEqual([{ role: 'user', content: 'hi' }])
  })

  it('has the defaults of the node for what is absent or null', () => {
    for (const text of ['{}', '{"model":null,"stream":null,"n":null,"stream_options":null}']) {
      const body = read(text)
      expect([body.model, body.isStream, body.n, body.tokensMax]).toEqual([null, false, 1, null])
      expect([body.cacheSalt, body.includesUsage]).toEqual([null, false])
      expect(body.has(keyId('model'))).toBe(false)
    }
  })

  it('takes the last duplicate, as the parser of the node does', () => {
    const body = read('{"model":"a","model":"b","stream":true,"stre\\u0061m":false}')
    expect([body.model, body.isStream]).toEqual(['b', false])
    // A first duplicate of a wrong type is never seen by the node either.
    expect(read('{"model":1,"model":"b"}').model).toBe('b')
  })

  it('prefers the newer of two token limits', () => {
    expect(read('{"max_tokens":1,"max_completion_tokens":2}').tokensMax).toBe(2)
    expect(read('{"max_output_tokens":3}').tokensMax).toBe(3)
  })

  it('is refused with the field, what it should be, and the place', () => {
    const cases: [string, string, string][] = [
      ['{"model":5}', 'model', "'model' must be a string, not number (line 1, column 10, byte 9)"],
      ['{\n "stream":\n  "yes"}', 'stream', 'must be a boolean, not string (line 3, column 3'],
      ['{"messages":{}}', 'messages', 'must be an array, not object'],
      ['{"tools":"x"}', 'tools', 'must be an array, not string'],
      ['{"n":[]}', 'n', 'must be a number, not array'],
      ['{"max_tokens":"9"}', 'max_tokens', 'must be a number, not string'],
      ['{"stream_options":true}', 'stream_options', 'must be an object, not true'],
      ['{"vllm_xargs":[]}', 'vllm_xargs', 'must be an object, not array'],
      ['{"cache_salt":1}', 'cache_salt', 'must be a string, not number'],
    ]
    for (const [text, param, message] of cases) {
      const error = refusal(text)
      expect([error.status, error.param]).toEqual([400, param])
      expect(error.message).toContain(message)
    }
  })

  it('is refused when it is no JSON object, with the place', () => {
    expect(refusal('').message).toBe(
      'the request body is not valid JSON (line 1, column 1, byte 0)',
    )
    expect(refusal('{\n"a": tru}').message).toContain('(line 2, column 9, byte 10)')
    expect(refusal('[{}]').message).toContain('must be a JSON object')
    expect(refusal(Buffer.from([0x7b, 0x22, 0xff])).message).toContain('not valid UTF-8')
    expect(refusal(`{"a":${'['.repeat(5000)}`).message).toContain('nested too deeply')
    expect(refusal('nonsense').code).toBe('invalid_request')
  })
})
