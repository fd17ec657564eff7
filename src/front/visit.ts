/** A client's request at the data port, from its head until its answer has gone. */
import type { HttpResponse } from 'uWebSockets.js'
import type { Visitor } from './kept_routes.ts'
import type { RequestHead } from './request_head.ts'

export class Visit implements Visitor {
  readonly res: HttpResponse
  isGone = false
  holder: { leave(): void } | null = null
  readonly origin?: string | null
  /** The gateway's own name of the request: what nodes and log lines have. */
  readonly id: string
  readonly requestId: string
  readonly isLast: boolean

  constructor(res: HttpResponse, origin: string | null, id: string, head: RequestHead) {
    this.res = res
    this.origin = origin
    this.id = id
    this.requestId = head.requestId ?? id
    this.isLast = head.isLengthMissing
    res.onAborted(() => {
      this.isGone = true
      this.holder?.leave()
    })
  }
}
