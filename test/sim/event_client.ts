/** Reads KV events off a node's sockets, for tests: batches decoded, hashes as 64-bit integers. */
import { Unpackr } from 'msgpackr'
import { Dealer } from 'zeromq'

export interface DecodedEvent {
  readonly type: 'BlockStored' | 'BlockRemoved' | 'AllBlocksCleared'
  readonly block_hashes?: readonly bigint[]
  readonly parent_block_hash?: bigint | null
  readonly token_ids?: readonly number[]
  readonly block_size?: number
  readonly lora_id?: number | null
  readonly lora_name?: string | null
  readonly extra_keys?: readonly (readonly string[] | null)[] | null
  readonly session_id?: string
}

export interface DecodedBatch {
  readonly seq: number
  readonly seconds: number
  readonly events: readonly DecodedEvent[]
  readonly rank: number
  readonly payload: Buffer
}

// Every hash is above 2^53 in practice, but for one in 2048; those come as numbers.
const unpackr = new Unpackr({ int64AsType: 'bigint', useRecords: false, mapsAsObjects: true })

function wide(hash: unknown): unknown {
  return typeof hash === 'number' ? BigInt(hash) : hash
}

export function decodeBatch(seq: number, payload: Buffer): DecodedBatch {
  const [seconds, events, rank]: [number, DecodedEvent[], number] = unpackr.unpack(payload)
  for (const event of events) {
    if (event.type === undefined) continue
    const changed = {
      block_hashes: event.block_hashes?.map(wide),
      parent_block_hash: wide(event.parent_block_hash),
    }
    Object.assign(event, changed)
  }
  return { seq, seconds, events, rank, payload }
}

export class ReplayClient {
  private readonly dealer: Dealer

  constructor(endpoint: string) {
    this.dealer = new Dealer({ linger: 0, receiveHighWaterMark: 0 })
    this.dealer.connect(endpoint)
  }

  /** Raw frames behind the delimiter of all batches from `start`, up to the end marker. */
  async frames(start: number, cut = Number.POSITIVE_INFINITY): Promise<Buffer[][]> {
    const seq = Buffer.alloc(8)
    seq.writeBigUInt64BE(BigInt(start))
    await this.dealer.send(['', seq])
    const found: Buffer[][] = []
    while (found.length < cut) {
      const [, ...frames] = await this.dealer.receive()
      if (frames.at(-1)?.length === 0) break
      found.push(frames)
    }
    return found
  }

  async batches(start: number): Promise<DecodedBatch[]> {
    const found = await this.frames(start)
    return found.map(frames => {
      const [seq, payload] = frames.slice(-2)
      return decodeBatch(Number(seq?.readBigUInt64BE()), payload ?? Buffer.alloc(0))
    })
  }

  close(): void {
    this.dealer.close()
  }
}
