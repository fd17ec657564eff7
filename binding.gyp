{
  # One addon for the gateway; on Linux a second one for the model cache with its supervisor, and
  # the executables of the benches. `sanitize` is set by build_native.mjs from WARMPATH_SANITIZE:
  # address, or empty.
  "variables": {
    "sanitize%": "",
    # The published package carries no bench/: nothing to build there.
    "has_bench%": "<!(node -p \"Number(require('fs').existsSync('bench/mock_node'))\")"
  },
  "target_defaults": {
    "cflags_cc": ["-std=c++20", "-O3", "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra", "-Werror"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-fno-omit-frame-pointer"],
    "xcode_settings": { "CLANG_CXX_LANGUAGE_STANDARD": "c++20", "MACOSX_DEPLOYMENT_TARGET": "12.0" },
    "include_dirs": ["native"],
    "conditions": [
      ["sanitize!=''", {
        "cflags_cc": ["-fsanitize=<(sanitize),undefined", "-fno-omit-frame-pointer", "-g", "-O1"],
        "ldflags": ["-fsanitize=<(sanitize),undefined"]
      }]
    ]
  },
  "targets": [
    {
      "target_name": "warmpath",
      "sources": [
        "native/addon.cc",
        "native/chain_hash/binding.cc",
        "native/chain_hash/chain_hash.cc",
        "native/event_frames/binding.cc",
        "native/event_frames/event_frames.cc",
        "native/json_scan/binding.cc",
        "native/json_scan/json_scan.cc",
        "native/json_scan/json_scan_keys.cc",
        "native/load_table/binding.cc",
        "native/load_table/load_table.cc",
        "native/mailbox/binding.cc",
        "native/mailbox/mailbox.cc",
        "native/overlay/binding.cc",
        "native/overlay/overlay.cc",
        "native/prefix_index/batch.cc",
        "native/prefix_index/binding.cc",
        "native/prefix_index/block_arena.cc",
        "native/prefix_index/coverage.cc",
        "native/prefix_index/directory.cc",
        "native/prefix_index/engine_map.cc",
        "native/prefix_index/head_table.cc",
        "native/prefix_index/hold.cc",
        "native/prefix_index/match.cc",
        "native/prefix_index/merge.cc",
        "native/prefix_index/orphans.cc",
        "native/prefix_index/remove.cc",
        "native/prefix_index/store.cc",
        "native/prefix_index/verify.cc",
        "native/process/binding.cc",
        "native/response_log/binding.cc",
        "native/response_log/directory.cc",
        "native/response_log/event_scanner.cc",
        "native/response_log/gone_ids.cc",
        "native/response_log/log_append.cc",
        "native/response_log/log_idle.cc",
        "native/response_log/log_read.cc",
        "native/response_log/log_table.cc",
        "native/response_log/stored_bytes.cc"
      ],
      "include_dirs": [
        "<!(node -p \"require('node-addon-api').include_dir\")",
        "<!(node -p \"require('path').dirname(require.resolve('xxhash-addon/package.json'))\")/xxHash"
      ],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED"]
    }
  ],
  "conditions": [
    ["OS=='linux'", {
      "targets": [
        {
          "target_name": "warmpath_model_cache",
          "sources": [
            "native/model_cache/binding.cc",
            "native/model_cache/binding_chunks.cc",
            "native/model_cache/binding_events.cc",
            "native/model_cache/binding_mount.cc",
            "native/model_cache/binding_transfer.cc",
            "native/model_cache/chunk_copy.cc",
            "native/model_cache/chunk_hash.cc",
            "native/model_cache/chunk_hash_avx2.cc",
            "native/model_cache/events.cc",
            "native/model_cache/hand_over.cc",
            "native/model_cache/peer_auth.cc",
            "native/model_cache/probe.cc",
            "native/model_cache/receiver.cc",
            "native/model_cache/socket_owner.cc",
            "native/model_cache/sender.cc",
            "native/model_cache/sender_request.cc",
            "native/model_cache/session.cc",
            "native/model_cache/session_files.cc",
            "native/model_cache/session_held.cc",
            "native/model_cache/session_names.cc",
            "native/model_cache/session_tree.cc",
            "native/model_cache/sha256.cc",
            "native/model_cache/shelf.cc",
            "native/model_cache/store.cc",
            "native/model_cache/tree.cc",
            "native/model_cache/whole_io.cc"
          ],
          "include_dirs": [
            "<!(node -p \"require('node-addon-api').include_dir\")",
            "<!(node -p \"require('path').dirname(require.resolve('xxhash-addon/package.json'))\")/xxHash"
          ],
          "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED"]
        },
        {
          "target_name": "warmpath_supervisor",
          "type": "executable",
          "product_extension": "",
          "sources": [
            "native/model_cache/hand_over.cc",
            "native/model_cache/mount_point.cc",
            "native/model_cache/store.cc",
            "native/supervisor/main.cc",
            "native/supervisor/memory.cc",
            "native/supervisor/mounts.cc",
            "native/supervisor/options.cc"
          ]
        }
      ]
    }],
    ["OS=='linux' and has_bench==1", {
      "targets": [
        {
          "target_name": "mock_node",
          "type": "executable",
          "product_extension": "",
          "sources": [
            "bench/mock_node/main.cc",
            "bench/mock_node/replies.cc",
            "bench/mock_node/request.cc",
            "bench/mock_node/server.cc"
          ]
        },
        {
          "target_name": "load_client",
          "type": "executable",
          "product_extension": "",
          "sources": [
            "bench/load_client/closed_loop.cc",
            "bench/load_client/interleaved.cc",
            "bench/load_client/main.cc",
            "bench/load_client/reply_reader.cc",
            "bench/load_client/request_text.cc",
            "bench/load_client/results.cc",
            "bench/load_client/socket.cc"
          ]
        },
        {
          "target_name": "model_reader",
          "type": "executable",
          "product_extension": "",
          "sources": ["bench/model_reader/main.cc"]
        },
        {
          "target_name": "passthrough_mirror",
          "type": "executable",
          "product_extension": "",
          "sources": ["bench/passthrough_mirror/main.cc", "native/model_cache/mount_point.cc"]
        },
        {
          "target_name": "throttled_source",
          "type": "executable",
          "product_extension": "",
          "sources": ["bench/throttled_source/main.cc", "native/model_cache/mount_point.cc"],
          "include_dirs": ["bench"]
        },
        {
          "target_name": "index_replay",
          "type": "executable",
          "product_extension": "",
          "sources": [
            "bench/index_replay/churn.cc",
            "bench/index_replay/lookup.cc",
            "bench/index_replay/main.cc",
            "bench/index_replay/trace.cc",
            "native/chain_hash/chain_hash.cc",
            "native/prefix_index/batch.cc",
            "native/prefix_index/block_arena.cc",
            "native/prefix_index/coverage.cc",
            "native/prefix_index/engine_map.cc",
            "native/prefix_index/head_table.cc",
            "native/prefix_index/hold.cc",
            "native/prefix_index/match.cc",
            "native/prefix_index/merge.cc",
            "native/prefix_index/orphans.cc",
            "native/prefix_index/remove.cc",
            "native/prefix_index/store.cc",
            "native/prefix_index/verify.cc"
          ],
          "include_dirs": [
            "bench",
            "<!(node -p \"require('path').dirname(require.resolve('xxhash-addon/package.json'))\")/xxHash"
          ]
        }
      ]
    }]
  ]
}
