/**
 * The event that ends a stream which a node left unfinished, in the shape that the endpoint's
 * clients understand as a failure. No `[DONE]` follows it.
 *
 *     chat, completions   data: {"error":{"message","type","param","code"}}
 *     responses           event: error, data: {"type":"error","code","message","param"}
 *     messages            event: error, data: {"type":"error","error":{"type","message"}}
 */
import type { OperatingError } from '../errors.ts'
import type { EndpointFacts } from '../exchange/request.ts'

export function errorEvent(endpoint: EndpointFacts, error: OperatingError): string {
  if (endpoint.dialect === 'anthropic') {
    return `event: error\ndata: ${error.body('anthropic')}\n\n`
  }
  if (endpoint.completion !== 'terminal') return `data: ${error.body()}\n\n`
  const { code, message, param } = error
  return `event: error\ndata: ${JSON.stringify({ type: 'error', code, message, param })}\n\n`
}
