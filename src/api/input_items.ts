/** GET /v1/responses/{id}/input_items: the items of a stored response's whole input, in pages. */
import { OperatingError } from '../errors.ts'
import { isRecord } from '../record.ts'
import type { StoredResponse } from './stored_response.ts'

/** Items of a page where the client does not say. */
const PAGE_ITEMS_DEFAULT = 20
/** Items of a page at most, as in OpenAI's API. */
const PAGE_ITEMS_MAX = 100

type Item = Readonly<Record<string, unknown>> & { readonly id: string }

export function listInputItems(
  stored: StoredResponse,
  query: URLSearchParams,
): string | OperatingError {
  const limit = Number(query.get('limit') ?? PAGE_ITEMS_DEFAULT)
  if (!Number.isInteger(limit) || limit < 1 || limit > PAGE_ITEMS_MAX) {
    return refuse('limit', `must be a whole number from 1 to ${PAGE_ITEMS_MAX}`)
  }
  const order = query.get('order') ?? 'desc'
  if (order !== 'asc' && order !== 'desc') return refuse('order', 'must be asc or desc')
  const items = itemsOf(stored)
  if (order === 'desc') items.reverse()
  const after = query.get('after')
  const from = after === null ? 0 : items.findIndex(item => item.id === after) + 1
  if (after !== null && from === 0) return refuse('after', 'is no item of this response')
  const data = items.slice(from, from + limit)
  return JSON.stringify({
    object: 'list',
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: from + limit < items.length,
  })
}

function refuse(param: string, what: string): OperatingError {
  return new OperatingError('invalid_request', `'${param}' ${what}`, param)
}

function itemsOf({ note, id }: StoredResponse): Item[] {
  // Decode boundary: the client's own items and those of nodes; only what is read is checked.
  const items = JSON.parse(`[${note.items.toString('utf8')}]`) as unknown[]
  // What is no object is no item: its node has refused it, or will.
  return items.filter(isRecord).map((item, at) => shownItem(item, `msg_${id.slice(-24)}_${at}`))
}

/** An item as the API shows it: with an id and a type, and its text as a part. */
function shownItem(item: Readonly<Record<string, unknown>>, ownId: string): Item {
  const { type = 'message', content, role } = item
  const id = typeof item['id'] === 'string' ? item['id'] : ownId
  if (typeof content !== 'string') return { ...item, id, type }
  const part = role === 'assistant' ? 'output_text' : 'input_text'
  const status = item['status'] ?? 'completed'
  return { ...item, id, type, status, content: [{ type: part, text: content }] }
}
