/** What `warmpath serve` prints once it answers: where, and lines to paste that work. */

export interface Greeting {
  readonly host: string
  readonly port: number
  readonly adminHost: string
  readonly adminPort: number
  readonly model: string
  readonly isKeyNeeded: boolean
  readonly isSimulated: boolean
}

export function greeting(facts: Greeting): string {
  const { host, port, adminHost, adminPort, model, isKeyNeeded } = facts
  const origin = `http://${printed(host)}:${port}`
  const key = isKeyNeeded ? ` -H 'Authorization: Bearer '"$WARMPATH_KEY"` : ''
  const body =
    `{"model":"${model}","messages":[{"role":"user","content":"Say hello"}],` +
    '"max_tokens":32,"stream":true}'
  const apiKey = isKeyNeeded ? 'process.env.WARMPATH_KEY' : "'none'"
  return [
    `warmpath listening on ${origin} (admin on http://${printed(adminHost)}:${adminPort})`,
    ...(facts.isSimulated ? ['no node is configured: three simulated vLLM nodes answer'] : []),
    '',
    'Try it:',
    `  curl -N ${origin}/v1/chat/completions${key} -H 'Content-Type: application/json' -d '${body}'`,
    '',
    'With the openai SDK:',
    "  import OpenAI from 'openai'",
    `  const client = new OpenAI({ baseURL: '${origin}/v1', apiKey: ${apiKey} })`,
    '  const reply = await client.chat.completions.create({',
    `    model: '${model}', messages: [{ role: 'user', content: 'Say hello' }], max_tokens: 32 })`,
    '  console.log(reply.choices[0].message.content)',
    '',
  ].join('\n')
}

/** A wildcard address is reached by loopback; IPv6 needs brackets. */
function printed(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}
