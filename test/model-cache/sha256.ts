/** What a file and bytes are compared by: the digest that sha256sum prints. */
import { createHash } from 'node:crypto'
import { program } from './workplace.ts'

/** Digest of a file, read by another process: this one must not wait inside the kernel. */
export async function digest(file: string): Promise<string> {
  // A backslash comes first where the name has characters that are shown escaped.
  return (await program('sha256sum', file)).split(' ')[0]!.replace('\\', '')
}

export function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
