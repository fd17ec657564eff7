/** Text of others on a line of ours: control characters, which would break it, are escaped. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, character => {
    const code = character.codePointAt(0) ?? 0
    return `\\x${code.toString(16).padStart(2, '0')}`
  })
}
