--- Types of the discovery/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
Endpoint: 1 addresses []string set !; 2 conditions EndpointConditions; 3 hostname string;
  4 targetRef core/v1.ObjectReference; 5 deprecatedTopology {}string; 6 nodeName string; 7 zone string;
  8 hints EndpointHints
EndpointConditions: 1 ready bool; 2 serving bool; 3 terminating bool
EndpointHints: 1 forZones []ForZone; 2 forNodes []ForNode
EndpointPort atomic: 1 name string; 2 protocol string; 3 port int; 4 appProtocol string
EndpointSlice: 1 metadata meta.ObjectMeta; 4 addressType string !; 2 endpoints []Endpoint !; 3 ports []EndpointPort
ForNode: 1 name string !
ForZone: 1 name string !
]]
