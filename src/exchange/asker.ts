/** The client of an exchange as the exchange sees it. */
import type { OperatingError } from '../errors.ts'
import type { LogReader } from '../responses/log_reader.ts'
import type { ResponseLog } from '../responses/response_log.ts'

/** Who waits for the answer: the reader of the log, and the place for an error before any byte. */
export interface Asker extends LogReader {
  /** It has not taken all that it was given. */
  readonly isLagging: boolean
  /** Attaches itself to the log. */
  follow(log: ResponseLog): void
  /** Nothing was sent yet and nothing will come: answer with this error. */
  refuse(error: OperatingError): void
}
