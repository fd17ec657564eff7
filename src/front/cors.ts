/**
 * Pages of other origins (CORS), where `origins` are configured: a preflight is answered here, and
 * every answer to an allowed page says so. Without `origins` nothing of this is sent.
 *
 * The headers that a page asks for are reflected, not listed: SDKs add new ones with each release.
 */
import type { HttpRequest } from 'uWebSockets.js'
import type { Answer } from './reply.ts'

/** Seconds for which a browser need not ask again; the longest that browsers keep. */
const PREFLIGHT_SECONDS = 7200

/** Headers of answers that a page may read. */
const EXPOSED =
  'x-request-id, request-id, retry-after, x-should-retry, x-warmpath-response-id, cache-status'

/** The page's origin, where it is one of the configured; null for all others. */
export function allowedOrigin(req: HttpRequest, origins: readonly string[]): string | null {
  if (origins.length === 0) return null
  const origin = req.getHeader('origin')
  return origins.includes(origin) ? origin : null
}

/** The answer to a browser's question before a request; the origin is added to every answer. */
export function preflightAnswer(req: HttpRequest): Answer {
  const asked = req.getHeader('access-control-request-headers')
  return {
    status: 200,
    contentType: 'text/plain',
    body: '',
    headers: [
      ['Access-Control-Allow-Methods', 'GET, POST, DELETE'],
      ...(asked === '' ? [] : [['Access-Control-Allow-Headers', asked] as const]),
      ['Access-Control-Max-Age', String(PREFLIGHT_SECONDS)],
    ],
  }
}

/** What every answer to a page of that origin carries. */
export function originHeaders(origin: string): readonly (readonly [string, string])[] {
  return [
    ['Access-Control-Allow-Origin', origin],
    ['Access-Control-Expose-Headers', EXPOSED],
    ['Vary', 'Origin'],
  ]
}
