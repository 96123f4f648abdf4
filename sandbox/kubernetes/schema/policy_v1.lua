--- Types of the policy/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
Eviction: 1 metadata meta.ObjectMeta; 2 deleteOptions meta.DeleteOptions
PodDisruptionBudget: 1 metadata meta.ObjectMeta; 2 spec PodDisruptionBudgetSpec; 3 status PodDisruptionBudgetStatus
PodDisruptionBudgetSpec: 1 minAvailable intstr; 2 selector meta.LabelSelector; 3 maxUnavailable intstr;
  4 unhealthyPodEvictionPolicy string
PodDisruptionBudgetStatus: 1 observedGeneration int zero; 2 disruptedPods {}time; 3 disruptionsAllowed int !;
  4 currentHealthy int !; 5 desiredHealthy int !; 6 expectedPods int !;
  7 conditions []meta.Condition map=type merge=type
]]
