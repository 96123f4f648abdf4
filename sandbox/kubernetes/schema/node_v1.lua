--- Types of the node/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
Overhead: 1 podFixed {}quantity
RuntimeClass: 1 metadata meta.ObjectMeta; 2 handler string !; 3 overhead Overhead; 4 scheduling Scheduling
Scheduling: 1 nodeSelector {}string atomic; 2 tolerations []core/v1.Toleration
]]
