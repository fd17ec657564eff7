/**
 * The edits of a request that are permitted, made by splice on the client's own bytes: what is
 * not edited stays byte for byte (integers beyond 2^53, the text of floats, order, duplicates).
 *
 *   {"a":1, "kv_transfer_params":{…}, "b":2}       a member goes with the comma and the space
 *          └────────────────────────┘              behind it, the last one with those before it
 *   {"a":1, "b":2,"cache_salt":"…"}                a new member comes behind the last one
 *
 * Every duplicate of a removed member goes, however its key is spelled: the node takes the last
 * one. When nothing must change the very same Buffer comes back. Costs: one loop over the spans;
 * with an edit, one copy of the body.
 */
import {
  type KeyName,
  keyId,
  MEMBERS_MAX,
  SPAN_KEY_ID,
  SPAN_KEY_START,
  SPAN_VALUE_END,
  SPAN_VALUE_START,
  SPAN_VALUE_TYPE,
  SPAN_WORDS,
  scanJson,
  VALUE_OBJECT,
  VALUE_STRING,
} from '../native/json_scan.ts'
import { EDITS } from '../observe/metrics/labels.ts'
import type { RequestBody } from './body.ts'

export interface EditPolicy {
  /** The key may jump queues: its `priority` stays. */
  readonly isTrusted: boolean
  /** The salt that the node must see, or null to leave the client's. */
  readonly cacheSalt: string | null
  /** What keeps the sessions of tenants apart, or null where there is one tenant. */
  readonly sessionPrefix: string | null
}

const CACHE_SALT_EDIT = EDITS.indexOf('cache_salt')
const SESSION_EDIT = EDITS.indexOf('session_id')
const PRIORITY_EDIT = EDITS.indexOf('priority')
const XARGS = keyId('vllm_xargs')
/** Edit by key id, in the body itself; -1 for every other member. */
const BODY_EDITS = editsOf([
  'kv_transfer_params',
  'ec_transfer_params',
  'request_id',
  'priority',
  'cache_salt',
  'session_id',
])
/** Edit by key id, inside `vllm_xargs`. */
const XARGS_EDITS = editsOf([
  'kv_transfer_params',
  'ec_transfer_params',
  'kv_cache_report_mode',
  'session_id',
])

function editsOf(names: readonly Extract<(typeof EDITS)[number], KeyName>[]): Int8Array {
  const edits = new Int8Array(256).fill(-1)
  for (const name of names) edits[keyId(name)] = EDITS.indexOf(name)
  return edits
}

/** A stretch of the body and what takes its place. */
interface Cut {
  readonly start: number
  readonly end: number
  readonly text: string
}

const scratch = new Uint32Array(MEMBERS_MAX * SPAN_WORDS)

/** The body as the node may see it; adds one to the count of each edit made. */
export function editBody(body: RequestBody, policy: EditPolicy, counts: Uint32Array): Buffer {
  if (!mustEdit(body, policy)) return body.bytes
  const cuts: Cut[] = []
  const { bytes, spans, count } = body
  for (let i = 0; i < count; i++) {
    const at = i * SPAN_WORDS
    if (spans[at + SPAN_KEY_ID] !== XARGS || spans[at + SPAN_VALUE_TYPE] !== VALUE_OBJECT) continue
    const start = spans[at + SPAN_VALUE_START] ?? 0
    const inner = scanJson(bytes, scratch, start, spans[at + SPAN_VALUE_END])
    // More members than fit cannot be judged one by one, so none of them goes through.
    if (inner < 0) cuts.push({ start, end: spans[at + SPAN_VALUE_END] ?? start, text: '{}' })
    else editMembers(bytes, scratch, inner, XARGS_EDITS, policy, null, counts, cuts)
  }
  const hasSalt = body.find(keyId('cache_salt')) !== -1
  const added = policy.cacheSalt === null || hasSalt ? null : saltMember(policy.cacheSalt)
  if (added !== null) bump(counts, CACHE_SALT_EDIT)
  editMembers(bytes, spans, count, BODY_EDITS, policy, added, counts, cuts)
  return splice(bytes, cuts)
}

function mustEdit(body: RequestBody, policy: EditPolicy): boolean {
  if (policy.cacheSalt !== null) return true
  for (let at = 0; at < body.spans.length; at += SPAN_WORDS) {
    const id = body.spans[at + SPAN_KEY_ID] ?? 0
    if (id !== 0 && (id === XARGS || actionOf(BODY_EDITS[id] ?? -1, policy) !== 'keep')) return true
  }
  return false
}

function actionOf(edit: number, policy: EditPolicy): 'keep' | 'remove' | 'replace' {
  if (edit === -1) return 'keep'
  if (edit === CACHE_SALT_EDIT) return policy.cacheSalt === null ? 'keep' : 'replace'
  if (edit === SESSION_EDIT) return policy.sessionPrefix === null ? 'keep' : 'replace'
  if (edit === PRIORITY_EDIT) return policy.isTrusted ? 'keep' : 'remove'
  return 'remove'
}

function bump(counts: Uint32Array, edit: number): void {
  counts[edit] = (counts[edit] ?? 0) + 1
}

function saltMember(salt: string): string {
  return `"cache_salt":${JSON.stringify(salt)}`
}

/** Collects the cuts of one object, given by its spans, with `added` as a new last member. */
function editMembers(
  bytes: Buffer,
  spans: Uint32Array,
  count: number,
  edits: Int8Array,
  policy: EditPolicy,
  added: string | null,
  counts: Uint32Array,
  cuts: Cut[],
): void {
  // Behind the last member that stays, or in front of the first where none stays.
  let keptEnd = -1
  for (let i = 0; i < count; i++) {
    const at = i * SPAN_WORDS
    const edit = edits[spans[at + SPAN_KEY_ID] ?? 0] ?? -1
    const action = actionOf(edit, policy)
    const valueEnd = spans[at + SPAN_VALUE_END] ?? 0
    if (action !== 'keep') bump(counts, edit)
    if (action === 'replace') cuts.push(replacement(bytes, spans, at, edit, policy))
    if (action !== 'remove') {
      keptEnd = valueEnd
      continue
    }
    const start = spans[at + SPAN_KEY_START] ?? 0
    const next = i + 1 < count ? (spans[at + SPAN_WORDS + SPAN_KEY_START] ?? 0) : -1
    if (next !== -1) cuts.push({ start, end: next, text: '' })
    else cuts.push({ start: keptEnd === -1 ? start : keptEnd, end: valueEnd, text: '' })
  }
  if (added === null) return
  const text = keptEnd === -1 ? added : `,${added}`
  const opening = keptEnd === -1 ? bytes.indexOf(0x7b) + 1 : keptEnd
  cuts.push({ start: opening, end: opening, text })
}

function replacement(
  bytes: Buffer,
  spans: Uint32Array,
  at: number,
  edit: number,
  policy: EditPolicy,
): Cut {
  const start = spans[at + SPAN_VALUE_START] ?? 0
  const end = spans[at + SPAN_VALUE_END] ?? 0
  if (edit === CACHE_SALT_EDIT) return { start, end, text: JSON.stringify(policy.cacheSalt ?? '') }
  // A session that is no string is the node's to refuse; it stays what it is.
  if (spans[at + SPAN_VALUE_TYPE] !== VALUE_STRING) return { start, end: start, text: '' }
  const prefix = JSON.stringify(policy.sessionPrefix ?? '').slice(0, -1)
  return { start, end: start + 1, text: prefix }
}

/** The bytes with every cut replaced by its text. Cuts of removed tails may overlap. */
function splice(bytes: Buffer, cuts: Cut[]): Buffer {
  if (cuts.length === 0) return bytes
  cuts.sort((a, b) => a.start - b.start || a.end - b.end)
  const parts: Buffer[] = []
  let done = 0
  for (const cut of cuts) {
    if (cut.start > done) parts.push(bytes.subarray(done, cut.start))
    if (cut.text !== '') parts.push(Buffer.from(cut.text))
    done = Math.max(done, cut.end)
  }
  parts.push(bytes.subarray(done))
  return Buffer.concat(parts)
}
