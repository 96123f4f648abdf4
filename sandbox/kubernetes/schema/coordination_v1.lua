--- Types of the coordination/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
Lease: 1 metadata meta.ObjectMeta; 2 spec LeaseSpec
LeaseSpec: 1 holderIdentity string; 2 leaseDurationSeconds int; 3 acquireTime microtime; 4 renewTime microtime;
  5 leaseTransitions int; 6 strategy string; 7 preferredHolder string
]]
