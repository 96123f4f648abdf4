--- Artifact Registry: repositories.
return {
  google_artifact_registry_repository = {
    service = "artifactregistry",
    id = "projects/{project}/locations/{location}/repositories/{repository_id}",
    collection = "projects/{project}/locations/{location}/repositories",
    create = { query = { repository_id = "{repository_id}" } },
    immutable = { "project", "location", "repository_id", "format", "kms_key_name", "mode" },
    update_mask = true,
    client = { "repository_id", "registry_uri" },
    names = { ["cleanup_policies.id"] = "id" },
    defaults = { mode = "STANDARD_REPOSITORY" },
    patterns = { repository_id = { "^[a-z][a-z0-9-]*$", "lower case letters, digits and dashes" } },
    body = function(body)
      -- The API has the cleanup policies as a map by their id.
      local policies
      for _, policy in ipairs(body.cleanupPolicies or {}) do
        policies = policies or {}
        policies[policy.id] = policy
      end
      body.cleanupPolicies = policies
    end,
    object = function(object)
      local list = {}
      for id, policy in pairs(object.cleanupPolicies or {}) do
        policy.id = id
        list[#list + 1] = policy
      end
      object.cleanupPolicies = #list > 0 and list or nil
    end,
    state = function(state, _, _, context)
      state.repository_id = state.repository_id or state.name:match("[^/]+$")
      state.name = state.repository_id
      state.registry_uri = ("%s-%s.pkg.dev/%s/%s"):format(state.location, (state.format or ""):lower(),
        context.params.project, state.repository_id)
    end,
  },
}
