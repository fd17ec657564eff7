/**
 * Messages of developers for a template that knows no such role: a vLLM node makes them system
 * messages, and then one system message in front of all others.
 *
 *   system a, user b, developer c, user d   ►   system "a\n\nc", user b, user d
 */
import { isRecord } from '../record.ts'

type Message = Readonly<Record<string, unknown>>

export function withoutDeveloper(messages: readonly Message[]): readonly Message[] {
  if (!messages.some(message => message.role === 'developer')) return messages
  const converted = messages.map(message => {
    if (message.role !== 'developer') return message
    const { tools: _dropped, ...rest } = message
    return { ...rest, role: 'system' }
  })
  const isLeading = converted.every((message, at) => message.role !== 'system' || at === 0)
  if (isLeading) return converted
  const texts = converted.filter(message => message.role === 'system').map(systemText)
  const content = texts.filter(text => text !== '').join('\n\n')
  const others = converted.filter(message => message.role !== 'system')
  return [{ role: 'system', content }, ...others]
}

function systemText({ content }: Message): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map(part => (isRecord(part) ? String(part.text) : '')).join('\n')
}
