/**
 * A YAML file with the place of every key and value, so that an error names line and column.
 *
 * `${NAME}` in a value is replaced by the environment variable, `${NAME:-text}` by the text when
 * the variable is unset or empty, `$${` stands for `${`. It happens on the parsed values, never on
 * the text of the file: a variable cannot bring in keys, lists or comments.
 */
import { createRequire } from 'node:module'
import type * as Yaml from 'yaml'
import { ConfigurationError } from './error.ts'
import type { Environment } from './flags.ts'

/** Loaded with the first file: a gateway that is configured by flags starts 35 ms earlier. */
function loadYaml(): typeof Yaml {
  // Decode boundary: the package's own CommonJS entry.
  return createRequire(import.meta.url)('yaml') as typeof Yaml
}

/** Bytes of a configuration file; more is a file given by mistake. */
export const CONFIG_BYTES_MAX = 1024 * 1024

const REFERENCE = /\$\$\{|\$\{([^}]*)\}/g
const NAME = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s

export type SettingPath = readonly (string | number)[]

export interface YamlFile {
  readonly file: string
  /** Plain data of the file, variables replaced. */
  readonly data: unknown
  /** `file:line:column` of the value at a path, or of the nearest thing around it. */
  placeOf(path: SettingPath): string
  /** `file:line:column` of a key inside the map at a path. */
  placeOfKey(path: SettingPath, key: string): string
}

/** Replaces references in one text; `fault` is called with what is wrong and throws. */
function interpolate(
  text: string,
  environment: Environment,
  fault: (message: string) => never,
): string {
  return text.replaceAll(REFERENCE, (whole, inner: string | undefined) => {
    if (inner === undefined) return '${'
    const match = NAME.exec(inner)
    if (match === null) return fault(`"${whole}" is no variable: write \${NAME} or \${NAME:-text}`)
    const value = environment[match[1]!]
    if (value) return value
    if (match[2] !== undefined) return match[2]
    const state = value === '' ? 'empty' : 'not set'
    return fault(`environment variable ${match[1]} is ${state}`)
  })
}

/** `*name` is an alias in YAML: mostly it was meant as a wildcard. */
function aliasFault(name: string): string {
  return `*${name} refers to an anchor &${name} that is not there: quote a value that begins with *`
}

/** The document's data; aliases that stand for more than yaml unfolds are a fault of the file. */
function plainData(document: Yaml.Document, file: string): unknown {
  try {
    return document.toJS()
  } catch (error) {
    if (error instanceof ReferenceError) throw new ConfigurationError([`${file}: ${error.message}`])
    throw error
  }
}

/** Reads YAML text; throws ConfigurationError for what is no YAML and for missing variables. */
export function parseYaml(text: string, file: string, environment: Environment): YamlFile {
  if (text.length > CONFIG_BYTES_MAX) {
    throw new ConfigurationError([`${file}: larger than ${CONFIG_BYTES_MAX} bytes`])
  }
  const { isMap, isScalar, LineCounter, parseDocument, visit } = loadYaml()
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const placeAt = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${Math.max(1, line)}:${Math.max(1, col)}`
  }
  const placeOfNode = (node: Yaml.Node | null): string => placeAt(node?.range?.[0] ?? 0)
  if (document.errors.length > 0) {
    const faults = document.errors.map(error => `${placeAt(error.pos[0])}: ${error.message}`)
    throw new ConfigurationError(faults)
  }
  visit(document, {
    Alias(_key, node) {
      if (node.resolve(document) !== undefined) return
      throw new ConfigurationError([`${placeOfNode(node)}: ${aliasFault(node.source)}`])
    },
    Scalar(key, node) {
      if (key === 'key' || typeof node.value !== 'string') return
      node.value = interpolate(node.value, environment, message => {
        throw new ConfigurationError([`${placeOfNode(node)}: ${message}`])
      })
    },
  })
  const nodeAt = (path: SettingPath): Yaml.Node | null => {
    // Decode boundary: with `keepScalar` getIn answers the node itself, which yaml types unknown.
    return (path.length === 0 ? document.contents : document.getIn(path, true)) as Yaml.Node | null
  }
  return {
    file,
    data: plainData(document, file),
    placeOf(path) {
      for (let length = path.length; length > 0; length -= 1) {
        const node = nodeAt(path.slice(0, length))
        if (node) return placeOfNode(node)
      }
      return file
    },
    placeOfKey(path, key) {
      const map = nodeAt(path)
      const pair = isMap(map)
        ? map.items.find(item => isScalar(item.key) && String(item.key.value) === key)
        : undefined
      return isScalar(pair?.key) ? placeOfNode(pair.key) : this.placeOf(path)
    },
  }
}
