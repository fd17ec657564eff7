/**
 * How a chat template wants the content of a message: as one string, or as the list of parts of
 * the OpenAI API. A node finds out by reading the template, and so do we, by the same signs:
 *
 *   {% for message in messages %} … {% for part in message.content %}      a list of parts
 *   {% macro show(content) %} … {% for part in content %} … show(message.content)
 *   {{ message.content }}                                                  a string
 *
 * A wrong guess gives wrong tokens; the truth check (truth.ts) would then say so.
 */
import type { Template } from '@huggingface/jinja'
import { isRecord } from '../record.ts'

export type ContentFormat = 'string' | 'parts'

type SyntaxNode = Readonly<Record<string, unknown>>

/** All nodes of a kind under a value, in order, however deep. */
function* nodesOf(value: unknown, type: string): Generator<SyntaxNode> {
  if (Array.isArray(value)) {
    for (const item of value) yield* nodesOf(item, type)
    return
  }
  if (value instanceof Map) {
    for (const [key, item] of value) yield* nodesOf([key, item], type)
    return
  }
  if (!isRecord(value)) return
  if (value.type === type) yield value
  for (const item of Object.values(value)) {
    if (typeof item === 'object') yield* nodesOf(item, type)
  }
}

function nameOf(value: unknown): string | null {
  if (!isRecord(value) || value.type !== 'Identifier') return null
  return typeof value.value === 'string' ? value.value : null
}

/** The expression below its filters, tests, slices and selections. */
function bare(value: unknown): unknown {
  if (!isRecord(value)) return value
  if (value.type === 'FilterExpression' || value.type === 'TestExpression') {
    return bare(value.operand)
  }
  if (value.type === 'SelectExpression') return bare(value.lhs)
  const isSlice =
    value.type === 'MemberExpression' &&
    isRecord(value.property) &&
    value.property.type === 'SliceExpression'
  return isSlice ? bare(value.object) : value
}

/** Whether the expression is `message.content` or `message['content']` of one of the names. */
function isContentOf(value: unknown, messages: ReadonlySet<string>): boolean {
  const inner = bare(value)
  if (!isRecord(inner) || inner.type !== 'MemberExpression' || !isRecord(inner.property)) {
    return false
  }
  const owner = nameOf(bare(inner.object))
  return owner !== null && messages.has(owner) && inner.property.value === 'content'
}

/** Names that stand for the list of messages: `messages` and what is assigned from it. */
function listNames(program: unknown): ReadonlySet<string> {
  const names = new Set(['messages'])
  for (const set of nodesOf(program, 'Set')) {
    const source = nameOf(bare(set.value))
    const target = nameOf(set.assignee)
    if (source !== null && target !== null && names.has(source)) names.add(target)
  }
  return names
}

/** Names that stand for one message: what loops over the list bind. */
function messageNames(program: unknown): ReadonlySet<string> {
  const lists = listNames(program)
  const names = new Set<string>()
  for (const loop of nodesOf(program, 'For')) {
    const list = nameOf(bare(loop.iterable))
    const target = nameOf(loop.loopvar)
    if (list !== null && target !== null && lists.has(list)) names.add(target)
  }
  return names
}

/** Parameters of a macro that are given the content of a message somewhere. */
function contentParameters(
  program: unknown,
  macro: SyntaxNode,
  messages: ReadonlySet<string>,
): ReadonlySet<string> {
  const names = new Set<string>()
  const parameters = Array.isArray(macro.args) ? macro.args : []
  for (const call of nodesOf(program, 'CallExpression')) {
    if (nameOf(call.callee) !== nameOf(macro.name) || !Array.isArray(call.args)) continue
    for (const [at, argument] of call.args.entries()) {
      const isKeyed = isRecord(argument) && argument.type === 'KeywordArgumentExpression'
      const name = parameterName(isKeyed ? argument : parameters[at])
      if (name !== null && isContentOf(isKeyed ? argument.value : argument, messages)) {
        names.add(name)
      }
    }
  }
  return names
}

function parameterName(parameter: unknown): string | null {
  if (isRecord(parameter) && parameter.type === 'KeywordArgumentExpression') {
    return nameOf(parameter.key)
  }
  return nameOf(parameter)
}

export function contentFormat(template: Template): ContentFormat {
  const program: unknown = template.parsed
  const messages = messageNames(program)
  const inMacros = new Set<SyntaxNode>()
  for (const macro of nodesOf(program, 'Macro')) {
    const parameters = contentParameters(program, macro, messages)
    for (const loop of nodesOf(macro.body, 'For')) {
      inMacros.add(loop)
      const name = nameOf(loop.iterable)
      if (name !== null && parameters.has(name)) return 'parts'
    }
  }
  for (const loop of nodesOf(program, 'For')) {
    if (isContentOf(loop.iterable, messages)) return 'parts'
    if (nameOf(loop.iterable) === 'content' && !inMacros.has(loop)) return 'parts'
  }
  return 'string'
}
