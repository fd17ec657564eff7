/** What a file and bytes are compared by: the digest that sha256sum prints. */
import { createHash } from 'node:crypto'
import { program } from './workplace.ts'

/** Digest of a file, read by another process: this one must not wait inside the kernel. */
export async function digest(file: string): Promise<string> {
  return (await program('sha256sum', file)).split(' ')[0]!
}

export function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
