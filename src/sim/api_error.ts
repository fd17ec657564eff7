/**
 * Errors as vLLM 0.32 words them. Three shapes exist:
 *
 *   {"error":{"message","type","param","code"}}   the envelope; `code` is the HTTP status
 *   {"detail":"Not Found"}                        unknown path, wrong method: the framework's own
 *   {"error":"Unauthorized"}                      no or wrong key
 *
 * and `/v1/messages` has Anthropic's for errors of its own. Body validation errors have the type
 * "Bad Request" (with a space), errors of meaning "BadRequestError".
 */

export class ApiError extends Error {
  readonly status: number
  readonly type: string
  readonly param: string | null

  constructor(status: number, type: string, message: string, param: string | null = null) {
    super(message)
    this.name = 'ApiError'
    this.status = status
    this.type = type
    this.param = param
  }

  body(): string {
    const { message, type, param, status } = this
    return JSON.stringify({ error: { message, type, param, code: status } })
  }

  anthropicBody(): string {
    return JSON.stringify({ type: 'error', error: { type: this.type, message: this.message } })
  }
}

export function badRequest(message: string, param: string | null = null): ApiError {
  return new ApiError(400, 'BadRequestError', message, param)
}

/** An error of one parameter, with the tail that vLLM appends to such messages. */
export function badParameter(message: string, name: string, value?: string): ApiError {
  const tail = value === undefined ? `(parameter=${name})` : `(parameter=${name}, value=${value})`
  return badRequest(`${message} ${tail}`, name)
}

export function modelNotFound(name: string, aliases: readonly string[]): ApiError {
  const message = `The model \`${name}\` does not exist. Valid aliases: ${aliases.join(', ')}.`
  return new ApiError(404, 'NotFoundError', message, 'model')
}

export function queueFull(): ApiError {
  const message =
    'The engine is currently busy and cannot accept new requests. ' +
    'Please try again later or on a different instance.'
  return new ApiError(503, 'Service Unavailable', message)
}

/** One finding of pydantic about a body. */
export interface Finding {
  readonly type: string
  /** Position, such as `body.messages`. */
  readonly at: string
  readonly message: string
  /** The input as Python prints it, containers summarised. */
  readonly input: string
  readonly context?: string
}

export function validationError(findings: readonly Finding[]): ApiError {
  const lines = findings.map(({ type, at, message, input, context }) => {
    const quoted = context?.includes("'") === true ? `"${context}"` : `'${context}'`
    const tail = context === undefined ? '' : `, 'ctx': {'error': ${quoted}}`
    return `  {'type': '${type}', 'loc': '${at}', 'msg': '${message}', 'input': '${input}'${tail}}`
  })
  const noun = findings.length === 1 ? 'validation error' : 'validation errors'
  const message = `${findings.length} ${noun}:\n${lines.join('\n')}`
  return new ApiError(400, 'Bad Request', message, findings[0]?.at ?? null)
}

/** A JSON value as Python prints it, containers summarised as vLLM does. */
export function pythonText(value: unknown): string {
  if (value === true) return 'True'
  if (value === false) return 'False'
  if (typeof value === 'string') return value
  if (Array.isArray(value)) return `<list of ${value.length} items>`
  if (typeof value === 'object' && value !== null) {
    return `<dict of ${Object.keys(value).length} items>`
  }
  return typeof value === 'number' ? String(value) : 'None'
}

/** A number as Python prints a float: `1` is `1.0`. */
export function pythonFloat(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value)
}
