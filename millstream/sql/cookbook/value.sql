-- title: Value
-- question: What did each version's wrong decisions cost, and what did it save?
SELECT model, model_version, first_day, last_day, decisions, wrong, cost, round(cost_per_thousand, 3) AS cost_per_thousand, value
FROM value_by_version
