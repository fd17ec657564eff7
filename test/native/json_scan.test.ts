import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  JSON_FAULTS,
  jsonFault,
  KEY_NAMES,
  keyId,
  MEMBERS_MAX,
  SPAN_WORDS,
  scanJson,
  VALUE_TYPES,
} from '../../src/native/json_scan.ts'

interface Member {
  readonly id: number
  readonly key: [number, number]
  readonly value: [number, number]
  readonly type: string
}

const spans = new Uint32Array(MEMBERS_MAX * SPAN_WORDS)

function members(count: number): Member[] {
  return Array.from({ length: count }, (_, i) => {
    const [id = 0, a = 0, b = 0, c = 0, d = 0, type = 0] = spans.subarray(i * SPAN_WORDS)
    return { id, key: [a, b], value: [c, d], type: VALUE_TYPES[type] ?? '?' }
  })
}

function scan(text: string | Uint8Array): number {
  return scanJson(typeof text === 'string' ? Buffer.from(text) : text, spans)
}

function fault(text: string | Uint8Array): [string, number] {
  const result = scan(text)
  expect(result).toBeLessThan(0)
  return [jsonFault(result), spans[0] ?? -1]
}

function jsonType(value: unknown): string {
  if (value === null || typeof value === 'boolean') return String(value)
  return Array.isArray(value) ? 'array' : typeof value
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The model: what JSON.parse makes of the bytes, or undefined where it must be refused. */
function parsed(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(decoder.decode(bytes))
    if (jsonType(value) !== 'object') return undefined
    return Object.fromEntries(Object.entries(value ?? {}))
  } catch {
    return undefined
  }
}

const space = fc.string({ unit: fc.constantFrom(' ', '\n', '\t', '\r'), maxLength: 3 })
/** The same string with some characters written as escapes. */
function escaped(text: string, choices: number): string {
  let out = '"'
  for (let i = 0; i < text.length; i++) {
    const unit = text[i] ?? ''
    const plain = JSON.stringify(unit).slice(1, -1)
    const hex = text.charCodeAt(i).toString(16).padStart(4, '0')
    // A pair of surrogates must stay one character in UTF-8 or become two escapes.
    const isSurrogate = unit >= '\ud800' && unit <= '\udfff'
    out += isSurrogate || (choices >> (i % 30)) & 1 ? `\\u${hex}` : plain
  }
  return `${out}"`
}
const keyText = fc.oneof(
  fc.constantFrom(...KEY_NAMES),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('modem', 'messagess', 'kv_transfer_param', '__proto__x'),
)
const memberText = fc
  .tuple(space, keyText, fc.nat(), space, space, fc.jsonValue({ maxDepth: 4 }), space, fc.boolean())
  .map(([a, key, choices, b, c, value, d, isPretty]) => {
    const text = JSON.stringify(value, null, isPretty ? 2 : 0)
    return `${a}${escaped(key, choices)}${b}:${c}${text}${d}`
  })
const objectText = fc
  .tuple(space, fc.array(memberText, { maxLength: 8 }), space)
  .map(([a, list, b]) => `${a}{${list.join(',')}}${b}`)

function checkSpans(text: Uint8Array, count: number): void {
  const model = parsed(text)
  const last = new Map<string, unknown>()
  const decode = (range: [number, number]): unknown =>
    JSON.parse(Buffer.from(text.subarray(...range)).toString())
  let end = 0
  for (const member of members(count)) {
    const between = Buffer.from(text.subarray(end, member.key[0])).toString()
    expect(between.trim()).toBe(end === 0 ? '{' : ',')
    const key = String(decode(member.key))
    expect(member.id).toBe(
      Math.max(
        0,
        KEY_NAMES.findIndex(name => name === key),
      ),
    )
    const value = decode(member.value)
    expect(member.type).toBe(jsonType(value))
    last.set(key, value)
    end = member.value[1]
  }
  // Made so that a member called __proto__ is one like any other.
  expect(Object.fromEntries(last)).toEqual(model)
}

/** Bytes that mean something to a scanner. */
const ODD_BYTES = '{}[]",:\\u0/-+.eEtfn \x00\x1f\x7f\x80\xc0\xe0\xed\xf4'

function checkUtf8(bytes: readonly number[]): void {
  const body = Buffer.from([...Buffer.from('{"k":"'), ...bytes, ...Buffer.from('"}')])
  expect([bytes, scan(body) >= 0]).toEqual([bytes, parsed(body) !== undefined])
}

function nested(depth: number): string {
  return `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`
}

function many(n: number): string {
  return `{${Array.from({ length: n }, () => '"k":0').join(',')}}`
}

describe('the JSON scanner', () => {
  it('knows every name of the list under its own id', () => {
    expect(new Set(KEY_NAMES).size).toBe(KEY_NAMES.length)
    for (const [id, name] of KEY_NAMES.entries()) {
      if (name === '') continue
      expect([scan(`{"${name}":1}`), spans[0]]).toEqual([1, id])
      expect(keyId(name)).toBe(id)
      expect([scan(`{"${name}x":1,"${name.slice(1)}":1}`), spans[0]]).toEqual([2, 0])
    }
  })

  it('lists the members of any object as JSON.parse sees them', () => {
    fc.assert(
      fc.property(objectText, text => {
        const bytes = Buffer.from(text)
        const count = scan(bytes)
        expect(count).toBeGreaterThanOrEqual(0)
        checkSpans(bytes, count)
      }),
      { numRuns: 500, interruptAfterTimeLimit: 10_000 },
    )
  })

  it('accepts and refuses as JSON.parse does after any mutation', () => {
    const mutation = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 3 }), fc.integer({ max: 255 }))
    const oddByte = fc.constantFrom(...Buffer.from(ODD_BYTES, 'latin1'))
    fc.assert(
      fc.property(
        objectText,
        fc.array(fc.tuple(mutation, oddByte), { maxLength: 3 }),
        (text, list) => {
          let bytes = [...Buffer.from(text)]
          for (const [[at, how, byte], special] of list) {
            const i = at % (bytes.length + 1)
            const value = how === 3 ? byte & 255 : special
            if (how === 0) bytes.splice(i, 1)
            else if (how === 1) bytes.splice(i, 0, value)
            else bytes = [...bytes.slice(0, i), value, ...bytes.slice(i + 1)]
          }
          const body = Uint8Array.from(bytes)
          const count = scan(body)
          if (parsed(body) === undefined) expect(count).toBeLessThan(0)
          else checkSpans(body, count)
        },
      ),
      { numRuns: 3000, interruptAfterTimeLimit: 15_000 },
    )
  })

  it('checks UTF-8 as a strict decoder does, for every pair of bytes and many longer ones', () => {
    for (let a = 0x20; a < 256; a++) for (let b = 0x7e; b < 256; b++) checkUtf8([a, b])
    const edges = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff]
    for (let lead = 0xe0; lead < 0xf8; lead++) {
      for (const b of edges) for (const c of edges) checkUtf8([lead, b, c])
      for (const b of edges)
        for (const c of edges) for (const d of edges) checkUtf8([lead, b, c, d])
    }
  })

  it('refuses every proper prefix of a body and says where it ended', () => {
    const body = Buffer.from(' {"model":"mé","messages":[{"a":[1.5e-3,true,null,{}]}],"n":-0} ')
    expect(scan(body)).toBe(3)
    for (let end = 0; end < body.length - 1; end++) {
      const [kind, offset] = fault(body.subarray(0, end))
      expect(['syntax', 'utf8']).toContain(kind)
      expect(offset).toBeGreaterThanOrEqual(end - 1)
      expect(offset).toBeLessThanOrEqual(end)
    }
  })

  it('names the fault and its first byte', () => {
    expect(fault('{"a":1,}')).toEqual(['syntax', 7])
    expect(fault('{"a":01}')).toEqual(['syntax', 6])
    expect(fault('{"a":"\n"}')).toEqual(['syntax', 6])
    expect(fault('{"a":"\\x"}')).toEqual(['syntax', 7])
    expect(fault('{"a":NaN}')).toEqual(['syntax', 5])
    expect(fault('{} {}')).toEqual(['syntax', 3])
    expect(fault('\ufeff{}')).toEqual(['syntax', 0])
    expect(fault('')).toEqual(['syntax', 0])
    expect(fault(' [1]')).toEqual(['not_object', 1])
    expect(fault('"text"')).toEqual(['not_object', 0])
    expect(fault('[1')).toEqual(['syntax', 2])
    expect(fault(Buffer.from('{"a":"\xff"}', 'latin1'))).toEqual(['utf8', 6])
    expect(JSON_FAULTS).toHaveLength(6)
  })

  it('counts depth without using the stack', () => {
    expect(scan(nested(1023))).toBe(1)
    expect(fault(nested(1024))).toEqual(['too_deep', 5 + 1023])
    expect(fault('['.repeat(1_000_000))).toEqual(['too_deep', 1023])
  })

  it('refuses more members than fit, but a fault of syntax first', () => {
    expect(scan(many(MEMBERS_MAX))).toBe(MEMBERS_MAX)
    expect(fault(many(MEMBERS_MAX + 1))).toEqual(['too_many', 1 + MEMBERS_MAX * 6])
    expect(fault(many(MEMBERS_MAX + 1).slice(0, -1))[0]).toBe('syntax')
  })

  it('lists duplicates and keys spelled with escapes', () => {
    const text =
      '{"kv_transfer\\u005fparams":1,"kv_transfer_params":2,"\\u006bv_transfer_params":3}'
    expect(scan(text)).toBe(3)
    expect(members(3).map(member => member.id)).toEqual(Array(3).fill(keyId('kv_transfer_params')))
    expect(scan('{"mode\\u006C":1,"m\\u006Fdel":1,"model\\u0000":1,"mode\\u016c":1}')).toBe(4)
    expect(members(4).map(member => member.id)).toEqual([1, 1, 0, 0])
  })

  it('scans a nested object by its span, with offsets of the whole body', () => {
    const body = Buffer.from('{"vllm_xargs": {"x":1, "kv_cache_report_mode":"full"} }')
    expect(scan(body)).toBe(1)
    const [outer] = members(1)
    expect(scanJson(body, spans, ...(outer?.value ?? [0, 0]))).toBe(2)
    const inner = members(2)[1]
    expect(inner?.id).toBe(keyId('kv_cache_report_mode'))
    expect(body.subarray(...(inner?.value ?? [0, 0])).toString()).toBe('"full"')
  })

  it('throws a TypeError for arguments that are none', () => {
    const body = Buffer.from('{}')
    // @ts-expect-error the body is not bytes
    expect(() => scanJson('{}', spans)).toThrow(TypeError)
    expect(() => scanJson(body, spans, 1, 3)).toThrow('past the body')
    expect(() => scanJson(body, spans, 2, 1)).toThrow(TypeError)
    expect(() => scanJson(body, new Uint32Array(5))).toThrow('spans')
    // @ts-expect-error the spans are of another type
    expect(() => scanJson(body, new Int32Array(6))).toThrow(TypeError)
  })
})
