--- Types of the scheduling/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
PriorityClass: 1 metadata meta.ObjectMeta; 2 value int !; 3 globalDefault bool zero; 4 description string;
  5 preemptionPolicy string
]]
