/** A promise and what settles it, for those who settle it elsewhere. */
export function deferred<T>(): {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
} {
  const settle: { resolve: (value: T) => void } = { resolve: () => {} }
  const promise = new Promise<T>(resolve => {
    settle.resolve = resolve
  })
  return { promise, resolve: settle.resolve }
}
