/** The `usage` objects of the generation endpoints, as vLLM writes them. */

export interface TokenCounts {
  readonly prompt: number
  readonly completion: number
  /** Prompt tokens found in the cache. */
  readonly cached: number
  /** Prompt tokens of full blocks that were not: they are in the cache now. */
  readonly created: number
}

function head({ prompt, completion }: TokenCounts): string {
  const total = prompt + completion
  return `{"prompt_tokens":${prompt},"total_tokens":${total},"completion_tokens":${completion},`
}

/** Of chat completions; the last chunk of a stream leaves out what is null. */
export function chatUsage(counts: TokenCounts, isChunk: boolean): string {
  const details = `"cached_tokens":${counts.cached},"created_cache_tokens":${counts.created}`
  if (isChunk) return `${head(counts)}"prompt_tokens_details":{${details}}}`
  return (
    `${head(counts)}"prompt_tokens_details":{${details},"multimodal_tokens":null},` +
    '"completion_tokens_details":null}'
  )
}

/** Of completions, which never say what was created. */
export function completionUsage(counts: TokenCounts, isChunk: boolean): string {
  const details = `"cached_tokens":${counts.cached}`
  if (isChunk) return `${head(counts)}"prompt_tokens_details":{${details}}}`
  return (
    `${head(counts)}"prompt_tokens_details":{${details},"created_cache_tokens":null,` +
    '"multimodal_tokens":null},"completion_tokens_details":null}'
  )
}
