/**
 * Which tool a simulated model calls, and with what: the named one, or the first of the list when a
 * call is required or the last user message contains "call tool". Arguments follow the tool's JSON
 * schema: the first value of an enum, else something short of the right type.
 */
import { isObject, type JsonObject } from './body.ts'

/** Characters of an argument fragment, like a token's. */
const PIECE_CHARACTERS = 4
const TRIGGER = 'call tool'
/** Levels of a schema that are followed; deeper values are null. */
const SCHEMA_DEPTH_MAX = 4

function functionsOf(body: JsonObject): JsonObject[] {
  const { tools } = body
  if (!Array.isArray(tools)) return []
  const functions: JsonObject[] = []
  for (const tool of tools) {
    const called: unknown = isObject(tool) ? tool['function'] : null
    if (isObject(called)) functions.push(called)
  }
  return functions
}

function lastUserText(body: JsonObject): string {
  const { messages } = body
  const last: unknown = Array.isArray(messages) ? messages.at(-1) : null
  if (!isObject(last) || last['role'] !== 'user') return ''
  return JSON.stringify(last['content'] ?? '')
}

/** The tool to call, or null to answer in words. */
export function toolName(body: JsonObject): { name: string; isNamed: boolean } | null {
  const first = functionsOf(body)[0]?.['name']
  if (typeof first !== 'string') return null
  const choice = body['tool_choice'] ?? 'auto'
  if (isObject(choice)) {
    const named: unknown = isObject(choice['function']) ? choice['function']['name'] : null
    return typeof named === 'string' ? { name: named, isNamed: true } : null
  }
  const isCalled =
    choice === 'required' || (choice === 'auto' && lastUserText(body).includes(TRIGGER))
  return isCalled ? { name: first, isNamed: false } : null
}

export function toolArguments(body: JsonObject, name: string): string {
  const called = functionsOf(body).find(candidate => candidate['name'] === name)
  const schema = called?.['parameters']
  return JSON.stringify(isObject(schema) ? sample(schema, 0) : {})
}

function sample(schema: JsonObject, depth: number): unknown {
  const { enum: values, type, properties } = schema
  if (Array.isArray(values)) return values[0] ?? null
  if (depth === SCHEMA_DEPTH_MAX) return null
  if (type === 'object' || isObject(properties)) {
    const entries = Object.entries(isObject(properties) ? properties : {})
    return Object.fromEntries(
      entries.map(([key, value]) => [key, isObject(value) ? sample(value, depth + 1) : null]),
    )
  }
  if (type === 'array') {
    const { items } = schema
    return isObject(items) ? [sample(items, depth + 1)] : []
  }
  if (type === 'integer' || type === 'number') return 1
  if (type === 'boolean') return true
  return type === 'null' ? null : 'text'
}

export function pieces(text: string): string[] {
  const found: string[] = []
  for (let at = 0; at < text.length; at += PIECE_CHARACTERS) {
    found.push(text.slice(at, at + PIECE_CHARACTERS))
  }
  return found
}
