/**
 * A workplace for each test of a file, in which a daemon is held in the middle of a load: a gated
 * peer gives some chunks of a file and no more, and a reader waits inside its open.
 */
import { afterEach } from 'vitest'
import { CHUNK_BYTES } from '../../src/model-cache/digest.ts'
import { type GatedPeer, gatedPeer } from './gated_peer.ts'
import { inFast, place, source, useWorkplace } from './own_workplace.ts'
import { digest } from './sha256.ts'
import { until } from './workplace.ts'

interface HalfLoaded {
  /** The digest that the reader gets in the end. */
  readonly reading: Promise<string>
  readonly pid: number
}

class HalfLoading {
  peer: GatedPeer | null = null

  /** Digest of a file of the accelerated path. */
  digest(name: string): Promise<string> {
    return digest(inFast(name))
  }

  /** Holds a load at so many chunks; the daemon is started with the flag that names the peer. */
  async load(
    name: string,
    bytes: Buffer,
    chunks: number,
    start: (flags: readonly string[]) => Promise<unknown>,
  ): Promise<HalfLoaded> {
    place.write(name, bytes)
    this.peer = await gatedPeer(source, name, bytes)
    this.peer.gate = chunks
    await start(['--peers', this.peer.address])
    const reading = this.digest(name)
    await until(async () => {
      const { bytes_by_tier: tiers } = (await place.asked()).caches[0]!
      return tiers['peer'] === chunks * CHUNK_BYTES
    })
    return { reading, pid: (await place.asked()).daemon_pid }
  }

  async close(): Promise<void> {
    await this.peer?.close()
    this.peer = null
  }
}

export function useHalfLoading(): HalfLoading {
  const loading = new HalfLoading()
  // Hooks of the end run in reverse: the processes go before the peer that they ask.
  afterEach(() => loading.close())
  useWorkplace()
  return loading
}
