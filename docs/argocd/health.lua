-- Argo CD's health of a FractalContainer; docs/gitops.md says how to install it.
-- Healthy: as wanted. Suspended: waits for a person who chose so. Degraded: needs a person.

local status = obj.status or {}
local health = { status = "Progressing", message = status.message or "Waiting for the operator." }

if obj.metadata.deletionTimestamp ~= nil then
  return health
end
-- What the operator has not seen yet, the conditions do not tell of.
if status.observedGeneration ~= obj.metadata.generation then
  health.message = "Waiting for the operator."
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is_true(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end

if is_true("Stalled") then
  health.status = "Degraded"
elseif is_true("Reconciling") then
  local reason = conditions.Reconciling.reason
  if reason == "Paused" or reason == "ReadOnly" then
    health.status = "Suspended"
  end
elseif is_true("Ready") or status.phase == "Succeeded" then
  health.status = "Healthy"
elseif status.phase == "Suspended" then
  health.status = "Suspended"
elseif conditions.Ready ~= nil then
  health.status = "Degraded" -- it runs, and its health check fails
end
return health
