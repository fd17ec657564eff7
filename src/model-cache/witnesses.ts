/**
 * Asks members that have a whole file what its digests are, before the first chunk is asked for.
 * Two that agree vouch for each other's bytes; where they differ the source decides (Testimony).
 */
import type { HelloClient } from './hello.ts'
import type { Hydration } from './hydration.ts'
import type { Peer } from './peer.ts'

/** Milliseconds for which a holder may take to say what its digests are. */
const DIGESTS_MS_MAX = 1_000

/** Holders whose digests are compared: two that agree, and one to spare. */
const WITNESSES_MAX = 3

export async function hearWitnesses(
  client: HelloClient,
  peers: readonly Peer[],
  { file: { fileId, generation }, testimony }: Hydration,
): Promise<void> {
  const holders = peers.filter(peer => peer.isUsable && peer.hasWhole(fileId, generation))
  // What one alone says comes with its bytes anyway: those are compared with the source.
  if (holders.length < 2) return
  const asked = holders.slice(0, WITNESSES_MAX).map(async peer => {
    const list = await client.digests(peer.host, peer.port, fileId, generation)
    if (list !== null) testimony.add(peer.id, list)
  })
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<void>(resolve => {
    timer = setTimeout(resolve, DIGESTS_MS_MAX)
  })
  await Promise.race([Promise.all(asked), limit])
  clearTimeout(timer)
}
