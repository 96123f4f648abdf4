--- Cloud Functions, second generation.
return {
  google_cloudfunctions2_function = {
    service = "cloudfunctions",
    id = "projects/{project}/locations/{location}/functions/{name}",
    collection = "projects/{project}/locations/{location}/functions",
    create = { query = { functionId = "{name}" } },
    immutable = { "project", "location", "name", "kms_key_name" },
    update_mask = true,
    computed_blocks = { "service_config" },
    defaults = { ["service_config.all_traffic_on_latest_revision"] = true,
      ["service_config.ingress_settings"] = "ALLOW_ALL" },
    names = { ["service_config.gcf_uri"] = false },
    body = function(body) body.name = nil end,
    state = function(state) state.name = state.name:match("[^/]+$") end,
  },
}
