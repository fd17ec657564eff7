/**
 * One text field of a multipart form, read without taking the form apart: audio uploads name their
 * model in a field, and the rest of the form is the node's business.
 */

/** Bytes of a field's value; a model's name is short. */
const FIELD_BYTES_MAX = 1024
const BOUNDARY = /boundary=(?:"([^"]+)"|([^\s;]+))/i

/** The field's value, or null when there is none (RFC 7578). */
export function multipartField(body: Buffer, contentType: string, name: string): string | null {
  const [, quoted, bare] = BOUNDARY.exec(contentType) ?? []
  const boundary = quoted ?? bare
  if (boundary === undefined) return null
  const delimiter = Buffer.from(`--${boundary}`)
  let at = body.indexOf(delimiter)
  while (at >= 0) {
    const start = at + delimiter.length
    const headEnd = body.indexOf('\r\n\r\n', start)
    const next = body.indexOf(delimiter, start)
    if (headEnd < 0 || next < 0) return null
    const head = body.toString('latin1', start, Math.min(headEnd, next))
    if (headEnd < next && isField(head, name)) {
      const value = body.subarray(headEnd + 4, Math.max(headEnd + 4, next - 2))
      return value.length <= FIELD_BYTES_MAX ? value.toString('utf8') : null
    }
    at = next
  }
  return null
}

function isField(head: string, name: string): boolean {
  const line = head.split('\r\n').find(one => /^content-disposition:/i.test(one)) ?? ''
  return line.includes(`name="${name}"`) && !/filename\*?=/i.test(line)
}
