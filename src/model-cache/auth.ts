/**
 * Proves to a peer that a request comes from somebody who knows the shared token, without sending
 * it, and that it is not an old one sent again.
 *
 *   authorization: Warmpath ts=1790000000,nonce=<32 hex>,mac=<64 hex>
 *   mac = HMAC-SHA256(token, lines of: method, path, range or body digest, ts, nonce)
 *
 * A clock may be off by 30 s; nonces are remembered for that long on both sides of now. Chunks are
 * asked for with the value of their Range header, posts with the SHA-256 of their body. That stands
 * in a header of its own, so that a signature is checked before the first byte of a body is taken.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** Milliseconds by which the clocks of two members may differ. */
export const CLOCK_SKEW_MS_MAX = 30_000

/** Nonces remembered; beyond it the oldest are forgotten, and their requests are too old soon. */
export const NONCES_MAX = 1_000_000

const HEADER = /^Warmpath ts=(\d{1,12}),nonce=([0-9a-f]{32}),mac=([0-9a-f]{64})$/

/** Header of a post: the SHA-256 of its body in hex. */
export const BODY_DIGEST_HEADER = 'x-warmpath-sha256'

export interface Signable {
  readonly method: string
  readonly path: string
  /** The Range header, or the SHA-256 of the body in hex; '' for neither. */
  readonly extra: string
}

function macOf(token: string, request: Signable, seconds: string, nonce: string): Buffer {
  const text = [request.method, request.path, request.extra, seconds, nonce].join('\n')
  return createHmac('sha256', token).update(text).digest()
}

export function bodyDigest(body: Buffer | string): string {
  return createHash('sha256').update(body).digest('hex')
}

/** The value of the authorization header. */
export function sign(token: string, request: Signable, nowMs: number): string {
  const seconds = String(Math.floor(nowMs / 1000))
  const nonce = randomBytes(16).toString('hex')
  const mac = macOf(token, request, seconds, nonce).toString('hex')
  return `Warmpath ts=${seconds},nonce=${nonce},mac=${mac}`
}

/** Checks requests against one token; without a token everything is let in. */
export class Gate {
  readonly #token: string | null
  readonly #nonces = new Map<string, number>()

  constructor(token: string | null) {
    this.#token = token
  }

  get isTokenGiven(): boolean {
    return this.#token !== null
  }

  admits(header: string | undefined, request: Signable, nowMs: number): boolean {
    if (this.#token === null) return true
    const match = HEADER.exec(header ?? '')
    if (match === null) return false
    const [, seconds = '', nonce = '', mac = ''] = match
    if (Math.abs(nowMs - Number(seconds) * 1000) > CLOCK_SKEW_MS_MAX) return false
    const wanted = macOf(this.#token, request, seconds, nonce)
    if (!timingSafeEqual(wanted, Buffer.from(mac, 'hex'))) return false
    if (this.#nonces.has(nonce)) return false
    this.#remember(nonce, nowMs)
    return true
  }

  #remember(nonce: string, nowMs: number): void {
    this.#nonces.set(nonce, nowMs)
    for (const [known, atMs] of this.#nonces) {
      const isOld = nowMs - atMs > 2 * CLOCK_SKEW_MS_MAX
      if (!isOld && this.#nonces.size <= NONCES_MAX) break
      this.#nonces.delete(known)
    }
  }
}
