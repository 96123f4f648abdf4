--- Types of the apiregistration/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
APIService: 1 metadata meta.ObjectMeta; 2 spec APIServiceSpec; 3 status APIServiceStatus
APIServiceCondition: 1 type string !; 2 status string !; 3 lastTransitionTime time; 4 reason string; 5 message string
APIServiceSpec: 1 service ServiceReference; 2 group string; 3 version string; 4 insecureSkipTLSVerify bool zero;
  5 caBundle bytes; 7 groupPriorityMinimum int !; 8 versionPriority int !
APIServiceStatus: 1 conditions []APIServiceCondition map=type merge=type
ServiceReference: 1 namespace string; 2 name string; 3 port int
]]
