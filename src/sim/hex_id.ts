/**
 * Sixteen hexadecimal digits, the form of vLLM's request ids. They need not be secret, and asking
 * the system for random bytes costs more than the rest of a short answer's head.
 */
export function hexId(): string {
  return half() + half()
}

function half(): string {
  return Math.floor(Math.random() * 0x1_0000_0000)
    .toString(16)
    .padStart(8, '0')
}
