/** Stand-ins for the native index where a test is about the prompt room alone. */
import type { ChainKeys, ChainRoot } from '../../src/prompt/roots.ts'

/** A root that names its arguments: equal arguments, equal root. */
export const fakeRoot: ChainRoot = (out, model, blockSize, adapter, salt) => {
  let root = 1469598103934665603n
  for (const byte of Buffer.from(JSON.stringify([model, blockSize, adapter, salt]))) {
    root = BigInt.asUintN(64, (root ^ BigInt(byte)) * 1099511628211n)
  }
  out[0] = root
}

export const fakeKeys: ChainKeys = (root, tokens, tokenCount, blockSize, out) => {
  const blocks = Math.floor(tokenCount / blockSize)
  let key = root[0] ?? 0n
  for (let block = 0; block < blocks; block++) {
    for (const id of tokens.subarray(block * blockSize, (block + 1) * blockSize)) {
      key = BigInt.asUintN(64, (key ^ BigInt(id + 1)) * 1099511628211n)
    }
    out[block] = key
  }
  return blocks
}
