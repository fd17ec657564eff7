/**
 * Options of simulated nodes, for the command line and for tests alike. The defaults describe a
 * small accelerator with a model of 8 billion parameters.
 */
import { z } from 'zod'
import { BLOCKS_MAX } from './kv_cache.ts'

export const simNodeSchema = z.strictObject({
  host: z.string().default('127.0.0.1').describe('Address of the HTTP and event sockets.'),
  port: z.int().min(0).max(65_535).default(0).describe('HTTP port; 0 takes a free one.'),
  kvPort: z.int().min(0).max(65_535).default(0).describe('Event port of rank 0, + rank.'),
  kvReplayPort: z.int().min(0).max(65_535).default(0).describe('Replay port of rank 0, + rank.'),
  model: z.string().min(1).default('sim').describe('Served model name.'),
  adapters: z.array(z.string().min(1)).default([]).describe('Names of LoRA adapters served.'),
  tokenizer: z.string().default('toy').describe('`toy`, or a directory with tokenizer.json.'),
  tasks: z
    .enum(['all', 'generate', 'embed'])
    .default('all')
    .describe('Endpoints served: a real node generates or embeds, never both.'),
  maxModelLen: z.int().positive().default(32_768).describe('Tokens of a sequence at most.'),
  blockSize: z.int().min(1).max(4096).default(16).describe('Tokens of a KV block.'),
  blocks: z.int().min(2).max(BLOCKS_MAX).default(2048).describe('KV blocks of a rank.'),
  ranks: z.int().min(1).max(8).default(1).describe('Data-parallel ranks.'),
  era: z.enum(['E7', 'E10', 'E11']).default('E10').describe('Form of the KV events.'),
  kvEvents: z.boolean().default(true).describe('Whether KV events are published.'),
  topic: z.string().default('').describe('Frame 0 of every event message.'),
  hashForm: z.enum(['int', 'bytes']).default('int').describe('Form of block hashes in events.'),
  hashSeed: z
    .string()
    .optional()
    .describe('PYTHONHASHSEED; `random` is a new one a process. Left out: as the era has it.'),
  lookahead: z.int().min(0).max(16).default(0).describe('Tokens of a draft model (E11).'),
  ringBatches: z.int().positive().default(10_000).describe('Event batches kept for replay.'),
  timeFactor: z.number().min(0).default(1).describe('Scales all times; 0 is as fast as possible.'),
  maxNumSeqs: z.int().positive().default(256).describe('Sequences that run at once.'),
  maxNumBatchedTokens: z.int().positive().default(2048).describe('Tokens of a step at most.'),
  maxNumQueuedReqs: z.int().min(0).optional().describe('Unfinished requests before 503.'),
  maxNumQueuedTokens: z.int().min(1).optional().describe('Prompt tokens queued before 503.'),
  outputTokens: z
    .int()
    .positive()
    .optional()
    .describe('Length of answers without max_tokens; left out: 16 to 64 by prompt.'),
  apiKey: z.string().min(1).optional().describe('Key asked for under /v1.'),
  requestIdHeaders: z.boolean().default(false).describe('Answer with x-request-id.'),
  responseStore: z
    .boolean()
    .default(false)
    .describe('Keep responses, as vLLM does with VLLM_ENABLE_RESPONSES_API_STORE=1.'),
  version: z.string().optional().describe('Version to report; left out: by era.'),
  keepAliveMs: z.int().positive().default(5000).describe('Idle sockets are closed after this.'),
  requestsKept: z.int().min(0).default(1024).describe('Requests kept for inspection by tests.'),
})

export type SimNodeOptions = z.input<typeof simNodeSchema>
export type SimNodeConfig = z.output<typeof simNodeSchema>

/** The vLLM version whose events an era stands for. */
export const ERA_VERSIONS = { E7: '0.23.0', E10: '0.32.0', E11: '0.33.0' } as const
